"""The card of an exported dataset: a README whose head the Hugging Face hub reads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from catalogs.exports.works import COLUMNS, Work
from catalogs.gallery import TEMPLATES
from catalogs.safe_text import undirected
from catalogs.validation import printable

TEMPLATE = "dataset-card.md.j2"
# The hub's classes of size, by how many rows a dataset has.
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
_CC = re.compile(
    r"\bcc[ -]?by((?:[ -](?:nc|sa|nd))*)[ -](\d\.\d)\b|/licenses/by((?:-\w\w)*)/(\d\.\d)"
)
_CC0 = re.compile(r"\bcc[ -]?0\b|/publicdomain/zero/")
# Licences of Creative Commons that the hub knows by name.
_HUB = {"by": "2.0 2.5 3.0 4.0", "by-sa": "3.0 4.0", "by-nc": "2.0 3.0 4.0", "by-nd": "4.0"}
_HUB |= {"by-nc-nd": "3.0 4.0", "by-nc-sa": "2.0 3.0 4.0"}


def card(
    works: Sequence[Work],
    patterns: Mapping[str, str],
    *,
    form: str,
    title: str,
    preview: bool,
) -> str:
    """The README of a dataset: its head as YAML, then Markdown.

    `patterns` says where the files of each split are, `form` how they are stored; `preview` that
    the model is a formula that was trained on nothing. Texts of the catalog are no markup in it.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,  # noqa: S701 - it is Markdown and YAML: `md` and safe_dump escape
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = markdown
    counts = _counts(works)
    context = {
        "head": _head(works, patterns, form, title, preview, counts["license"]),
        "title": title,
        "form": form,
        "preview": preview,
        "works": len(works),
        "paintings": len({work.item_id for work in works}),
        "splits": sorted(patterns),
        "counts": counts,
        "columns": COLUMNS,
    }
    return environment.get_template(TEMPLATE).render(context)


def _counts(works: Sequence[Work]) -> dict[str, list[tuple[str, int]]]:
    """Values of some columns, the most frequent first; "" for works without one."""
    names = ("model", "proxy", "variant", "flag", "license")
    found: dict[str, Counter[str]] = {name: Counter() for name in names}
    for work in works:
        told = work.told()
        for name in names:
            found[name][str(told[name] or "")] += 1
    return {
        name: sorted(counter.items(), key=lambda entry: (-entry[1], entry[0]))
        for name, counter in found.items()
    }


def _head(
    works: Sequence[Work],
    patterns: Mapping[str, str],
    form: str,
    title: str,
    preview: bool,
    licenses: Sequence[tuple[str, int]],
) -> str:
    made = "preview" if preview else "image-to-video-diffusion"
    kind = ["art", "paintings", "video", form, "synthetic", "ai-generated", made]
    head: dict[str, Any] = {
        "pretty_name": printable(undirected(title), 100),
        **_license([name for name, _ in licenses]),
        "task_categories": ["image-to-video"],
        "size_categories": [size_category(len(works))],
        "tags": [*kind, "every-painting-awakened", "arxiv:2503.23736"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": path} for split, path in patterns.items()],
            }
        ],
    }
    return yaml.safe_dump(head, sort_keys=False, allow_unicode=True)


def _license(names: Sequence[str]) -> dict[str, str]:
    """The head's fields of the licence: the hub's own name for one that all works share."""
    if len(names) == 1 and (known := hub_license(names[0])):
        return {"license": known}
    if not any(names):
        return {"license": "unknown"}
    return {"license": "other", "license_name": "see-column-license", "license_link": "README.md"}


def hub_license(text: str) -> str | None:
    """The hub's name of a Creative Commons licence given by name or address; None for others."""
    lowered = " ".join(text.lower().replace("_", "-").split())
    if _CC0.search(lowered):
        return "cc0-1.0"
    found = _CC.search(lowered)
    if found is None:
        return None
    parts = re.findall("nc|sa|nd", found[1] or found[3] or "")
    kind, version = "-".join(["by", *parts]), found[2] or found[4]
    return f"cc-{kind}-{version}" if version in _HUB.get(kind, "").split() else None


def size_category(count: int) -> str:
    """The hub's class of size for so many rows."""
    return next((name for most, name in _SIZES if count < most), "10M<n<100M")


def markdown(text: str) -> str:
    """The text as one line of Markdown that means only itself: no markup, link or HTML."""
    shown = printable(undirected(" ".join(text.split())), 300)
    escaped = re.sub(r"([\\`*_{}\[\]()#+.!|~>:@$-])", r"\\\1", shown)
    return escaped.replace("&", "&amp;").replace("<", "&lt;")
