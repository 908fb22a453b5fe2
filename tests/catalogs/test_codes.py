"""The table of failure codes and the source agree: what is raised is listed, and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from catalogs.codes import CODES, kind, retried

ROOT = Path(__file__).parents[2]
PACKAGES = ("catalogs", "epa_core", "tasks", "flows")
RAISING = {"ItemError", "BrokenAccelerator", "failure"}
# First arguments that are no literal: the code of an error met before, or one chosen nearby.
HANDED_ON = {
    ("tasks/beside.py", "code"),
    ("tasks/candidates.py", "first.error.code"),
    ("tasks/follow.py", "code or ''"),
    ("tasks/beside.py", "error.code"),
    ("tasks/beside.py", "kind.missing"),
    ("tasks/beside.py", "kind.misfit"),
    ("tasks/failures.py", "code"),
    ("tasks/failures.py", "memory"),
    ("tasks/failures.py", "known if known in CODES else 'store_error'"),
    ("tasks/second_go.py", "first.code"),
}


@cache
def trees() -> list[tuple[str, ast.AST]]:
    found = []
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            name = str(file.relative_to(ROOT))
            if name != "catalogs/codes.py":
                found.append((name, ast.parse(file.read_text())))
    return found


def raised() -> Iterator[tuple[str, ast.expr]]:
    """File and first argument of every call that makes a failure."""
    for name, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args:
                called = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if called in RAISING:
                    yield name, node.args[0]


def test_every_code_that_is_raised_is_in_the_table() -> None:
    literal = {a.value for _, a in raised() if isinstance(a, ast.Constant)}
    assert len(literal) > 15
    assert literal <= set(CODES), literal - set(CODES)


def test_no_code_is_put_together_where_this_test_cannot_see_it() -> None:
    other = {(name, ast.unparse(a)) for name, a in raised() if not isinstance(a, ast.Constant)}
    assert other <= HANDED_ON, other - HANDED_ON


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_the_table_is_raised_somewhere(code: str) -> None:
    assert any(
        isinstance(node, ast.Constant) and node.value == code
        for _, tree in trees()
        for node in ast.walk(tree)
    )


@pytest.mark.parametrize("code", CODES)
def test_every_code_says_what_it_means_and_what_to_do(code: str) -> None:
    entry = CODES[code]
    assert entry.code == code
    for sentence in (entry.meaning, entry.advice):
        assert sentence[0].isupper() or sentence.startswith("`")
        assert sentence.endswith(".")
    # What ended for good and can be mended without a new catalog says how it is taken up again.
    assert entry.retried == (entry.kind in {"transient", "resource"} or code in PROCESS)


PROCESS = {"cuda_assert", "illegal_address"}  # no record is written: the next run goes on


def test_a_code_of_another_version_is_not_tried_again() -> None:
    assert not retried("invented")
    assert kind("invented") == "bug"
