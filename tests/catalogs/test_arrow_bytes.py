"""What Arrow reads is its own: its threads must not hold a Python object when the program ends."""

from __future__ import annotations

import ast
import io
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogs.arrow_bytes import arrow_reader

ROOT = Path(__file__).parents[2]
SOURCES = [path for name in ("catalogs", "tasks", "flows") for path in (ROOT / name).rglob("*.py")]
_READS = {"read_table", "read_schema", "ParquetFile", "read_csv", "open_csv"}
_WITH_THREADS = {"iter_batches"}


def test_it_reads_the_same_bytes_and_keeps_none_of_pythons() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 2, 3]}), sink)
    data = sink.getvalue()
    before = sys.getrefcount(data)
    reader = arrow_reader(data)
    assert sys.getrefcount(data) == before
    assert pq.read_table(reader).to_pydict() == {"a": [1, 2, 3]}


def test_no_bytes_at_all() -> None:
    assert arrow_reader(b"").read() == b""


def _calls(path: Path) -> list[tuple[str, ast.Call]]:
    tree = ast.parse(path.read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [(node.func.attr, node) for node in calls if isinstance(node.func, ast.Attribute)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrow_is_given_no_python_memory_to_read_with_threads(path: Path) -> None:
    for name, call in _calls(path):
        where = f"{path}:{call.lineno}"
        if name in _WITH_THREADS:
            assert any(keyword.arg == "use_threads" for keyword in call.keywords), where
        if name == "BufferReader":
            assert path.name == "arrow_bytes.py", where
        if name in _READS and call.args:
            assert "BytesIO" not in ast.unparse(call.args[0]), where
