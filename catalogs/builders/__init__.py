"""Builders of catalogs, one per kind of source; each gives a table and a report."""

from catalogs.builders.folder import build_folder
from catalogs.builders.huggingface import build_huggingface
from catalogs.builders.table import build_table
from catalogs.builders.wikiart import build_wikiart
from catalogs.validation import BuildResult, ValidationReport

__all__ = [
    "BuildResult",
    "ValidationReport",
    "build_folder",
    "build_huggingface",
    "build_table",
    "build_wikiart",
]
