"""Whatever a run file holds, it is a run or one sentence, never a traceback."""

from __future__ import annotations

import contextlib
import io
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from catalogs.errors import ConfigError
from flows.cli import main
from flows.template import run_template
from tasks.config import RunConfig
from tasks.runfile import dump_run, load_run_file, parse_run

SHORT = settings(max_examples=60, deadline=None, derandomize=True)
CLI = settings(SHORT, max_examples=8, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=4_000, deadline=None, suppress_health_check=list(HealthCheck))

VALID: dict[str, Any] = {
    "catalog": "paintings",
    "output": "animated",
    "where": "year < 1900",
    "columns": {"title": "name"},
    "prompts": {"overrides": "prompts.csv"},
    "variant": "V+S",
    "model": {"name": "preview", "num_frames": 8, "options": {"width": 64}},
    "proxy": {"name": "preview", "strength": 0.5},
    "distill": {"p": 0.6},
    "matrix": {"distill.p": [0.4, 0.6], "variant": ["V", "S"]},
    "storage": {"s3": {"endpoint_url": "http://127.0.0.1:9", "path_style": True}},
    "execution": {"limits": {"min_side": 16}, "keep": ["proxy"], "protocols": ["file", "s3"]},
}
PATHS = [
    ("catalog",), ("output",), ("where",), ("limit",), ("columns",), ("columns", "title"),
    ("prompts",), ("prompts", "overrides"), ("seed",), ("variant",), ("preset",), ("matrix",),
    ("matrix", "distill.p"), ("matrix", "variant"), ("model",), ("model", "name"),
    ("model", "options"), ("model", "source"), ("proxy", "strength"), ("proxy", "name"),
    ("distill", "p"), ("animate",), ("encode",), ("storage", "s3"),
    ("storage", "s3", "endpoint_url"),
    ("execution", "keep"), ("execution", "protocols"), ("execution", "limits"),
    ("execution", "limits", "max_aspect"), ("execution", "max_failure_ratio"), ("new",),
    ("execution", "limits", "nwe"), ("matrix", "model.name"), ("matrix", "output"),
]  # fmt: skip

texts = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", ".", "..", "~", "/", "\0", "a\nb", "s3://", "s3://b/k", "http://x", "{}"]),
    st.sampled_from(
        ["preview", "paper", "V", "null", "${HOME}", "file:///", "é" * 3000, "*", "://"]
    ),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2**63, 10**400]),
    st.floats(),
    texts,
    st.dates(),
    st.binary(max_size=8),
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """The valid run file with up to three places changed, taken out or made up."""
    tree = yaml.safe_load(yaml.safe_dump(VALID))
    for _ in range(draw(st.integers(1, 3))):
        *folders, last = draw(st.sampled_from(PATHS))
        place = tree
        for name in folders:
            place = place.setdefault(name, {}) if isinstance(place, dict) else {}
        if isinstance(place, dict):
            if draw(st.booleans()) and last in place:
                del place[last]
            else:
                place[last] = draw(trees)
    return tree


def one_sentence(text: str) -> None:
    assert text.strip()
    assert len(text.splitlines()) == 1, text
    assert len(text) < 2_500
    assert "Traceback" not in text
    assert "pydantic" not in text
    assert text.isprintable(), repr(text)


def accepted(read: Callable[[], RunConfig]) -> RunConfig | None:
    """The run, or None where it was refused in one sentence; anything else is a failure."""
    try:
        return read()
    except ConfigError as error:
        one_sentence(str(error))
        return None


def check_tree(tree: dict[str, Any]) -> None:
    run = accepted(lambda: parse_run(tree))
    if run is None:
        return
    assert math.isfinite(run.execution.limits.max_aspect)
    assert run.cells()
    assert run.recipe()
    again = accepted(lambda: parse_run(yaml.safe_load(dump_run(run))))
    assert again == run


def check_bytes(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.yaml"
        path.write_bytes(data)
        accepted(lambda: load_run_file(str(path)))


def check_cli(data: bytes) -> None:
    """`epa plan` of such a file: exit code 2 and a sentence; never a traceback."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.yaml"
        path.write_bytes(data)
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.object(sys, "argv", ["epa", "plan", str(path)]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as stopped,
        ):
            main()
        assert stopped.value.code == 2, err.getvalue()
        assert "Traceback" not in err.getvalue() + out.getvalue()
        [line] = [line for line in err.getvalue().splitlines() if line.startswith("epa: ")]
        one_sentence(line)


def as_yaml(tree: Any) -> bytes:
    return yaml.dump(tree, allow_unicode=True).encode("utf-8", "replace")


LAUGHS = "a0: &a0 [ha, ha]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)
)
BAD_FILES = [
    b"",
    b"\xff\xfe\x00",
    b"[" * 5_000,
    b"{" * 5_000,
    b"a: " * 3_000,
    b"catalog: " + b"9" * 5_000,
    b"catalog: 2001-99-99",
    b"catalog: !!python/object/apply:os.system [exit 1]",
    b"catalog: !!binary '=='",
    b"catalog: !!int x",
    b"catalog: &a [*a]",
    b"? [1, 2]\n: 3",
    b"? {a: b}\n: 3",
    b"<<: 5",
    b"catalog: a\noutput: b\nmodel: &m {options: *m}",
    b"catalog: a\noutput: b\nmodel: &m\n  options: *m",
    f"{LAUGHS}catalog: *a39\noutput: b\n".encode(),
    b"catalog: a\noutput: b\ncatalog: c\n",
    b"--- a\n--- b\n",
    b"1: 2\nnull: 3\ncatalog: a",
    b"catalog: 'a\x00b'",
    "catalog: '\u202e\u2028'\noutput: 5".encode(),
]


@SHORT
@given(st.dictionaries(texts, trees, max_size=5) | mutated())
def test_any_tree(tree: dict[str, Any]) -> None:
    check_tree(tree)


@SHORT
@given(mutated())
def test_any_mutation_as_a_file(tree: dict[str, Any]) -> None:
    check_bytes(as_yaml(tree))


@SHORT
@given(st.binary(max_size=60), st.integers(0, 10**6), st.integers(0, 200))
def test_the_template_with_bytes_changed(noise: bytes, position: int, gone: int) -> None:
    data = run_template().encode()
    at = position % len(data)
    check_bytes(data[:at] + noise + data[at + gone :])


@pytest.mark.timeout(60)
@pytest.mark.parametrize("data", BAD_FILES, ids=range(len(BAD_FILES)))
def test_files_that_break_readers(data: bytes) -> None:
    check_bytes(data)
    check_cli(data)


@CLI
@given(mutated())
@example({"catalog": "a", "output": "b\nc"})
def test_the_command_line(tree: dict[str, Any]) -> None:
    check_cli(as_yaml({**tree, "catalog": "no-such-folder", "new": 1}))


@pytest.mark.faults
@LONG
@given(st.dictionaries(texts, trees, max_size=5) | mutated())
def test_any_tree_long(tree: dict[str, Any]) -> None:
    check_tree(tree)


@pytest.mark.faults
@LONG
@given(mutated())
def test_any_mutation_as_a_file_long(tree: dict[str, Any]) -> None:
    check_bytes(as_yaml(tree))
