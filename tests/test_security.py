"""Nothing that can run code is read from catalogs, caches or checkpoints; `where` reads nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest

from catalogs.builders.probing import IMAGE_FORMATS
from catalogs.catalog import select
from catalogs.errors import ConfigError
from catalogs.schema import SCHEMA
from epa_core.media.images import FORMATS

ROOT = Path(__file__).parent.parent
PACKAGES = ("catalogs", "epa_core", "tasks", "flows")
# Modules whose formats run code while they are read, or that run what they are given.
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "code"}
UNSAFE_MODULES |= {"jsonpickle", "ctypes", "pty", "imp", "xmlrpc", "telnetlib"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
UNSAFE_CALLS = {
    "read_pickle",
    "unsafe_load",
    "full_load",
    "system",
    "popen",
    "execv",
    "load_all",
    "FullLoader",
    "UnsafeLoader",
}
# Called with these only: what the library does otherwise runs code.
NEEDED = {
    ("torch", "load"): ("weights_only", True),
}
FORBIDDEN = {
    "allow_pickle": True,
    "trust_remote_code": True,
    "shell": True,
    "weights_only": False,
    "use_safetensors": False,
}


def files() -> list[Path]:
    return [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def parsed(source: str) -> ast.AST:
    """The tree; Python 3.11 fails now and then where another thread parses, too (gh-106905)."""
    for _ in range(5):
        with suppress(SystemError):
            return ast.parse(source)
    return ast.parse(source)


def faults(source: str) -> Iterator[str]:
    """What in a module's source could run code that came with data."""
    tree = parsed(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name.partition(".")[0] for alias in node.names}
            yield from (f"imports {name}" for name in names & UNSAFE_MODULES)
        elif isinstance(node, ast.ImportFrom):
            top = (node.module or "").partition(".")[0]
            if node.level == 0 and top in UNSAFE_MODULES:
                yield f"imports {top}"
            names = {alias.name for alias in node.names}
            yield from (f"imports {name}" for name in names & UNSAFE_CALLS)
        elif isinstance(node, ast.Call):
            yield from _of_call(node)


def _of_call(node: ast.Call) -> Iterator[str]:
    parts = ast.unparse(node.func).split(".")
    owner, name = parts[-2] if len(parts) > 1 else "", parts[-1]
    given = {word.arg: word.value for word in node.keywords}
    # Others' methods of a builtin's name, like re.compile, run nothing.
    if name in UNSAFE_CALLS or (name in BUILTINS and owner in ("", "builtins")):
        yield f"calls {name}"
    if owner == "yaml" and name in {"load", "load_all"}:
        yield "calls yaml.load"
    needed = NEEDED.get((owner, name))
    if needed and ast.unparse(given.get(needed[0], ast.Constant(None))) != str(needed[1]):
        yield f"calls {owner}.{name} without {needed[0]}={needed[1]}"
    for option, value in FORBIDDEN.items():
        if option in given and ast.unparse(given[option]) == str(value):
            yield f"calls {name} with {option}={value}"


def test_no_source_reads_what_can_run_code() -> None:
    assert len(files()) > 100
    found = {
        str(file.relative_to(ROOT)): listed
        for file in files()
        if (listed := list(faults(file.read_text())))
    }
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import numpy\nnumpy.load(path, allow_pickle=True)",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "eval(text)",
        "import builtins\nbuiltins.exec(text)",
        "import pandas\npandas.read_pickle(path)",
        "subprocess.run(text, shell=True)",
        "import os\nos.system(text)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "from joblib import load",
    ],
)
def test_the_walk_finds_what_it_looks_for(source: str) -> None:
    assert list(faults(source))


def test_the_walk_lets_good_code_pass() -> None:
    good = "import re, torch, yaml\nre.compile('x'); yaml.safe_load('x')\n"
    assert not list(faults(good + "torch.load(path, weights_only=True)"))


# -- where


@pytest.fixture(scope="module")
def table() -> pa.Table:
    row = dict.fromkeys(SCHEMA.names) | {"id": "a", "title": "T"}
    return pa.Table.from_pylist([row], schema=SCHEMA)


@pytest.mark.parametrize(
    "where",
    [
        "title IN (SELECT * FROM read_csv('{file}'))",
        "title IN (SELECT * FROM read_csv_auto('{file}'))",
        "title IN (SELECT column0 FROM '{file}')",
        "title IN (SELECT content FROM read_text('{file}'))",
        "title IN (SELECT content FROM read_blob('{file}'))",
        "title IN (SELECT file FROM glob('{folder}/*'))",
        "title IN (SELECT * FROM read_parquet('{file}'))",
        "title IN (SELECT * FROM read_json_auto('{file}'))",
        "title IN (SELECT * FROM parquet_metadata('{file}'))",
        "title IN (SELECT * FROM sniff_csv('{file}'))",
        "title IN (SELECT * FROM read_csv('http://127.0.0.1:9/x.csv'))",
        "title IN (SELECT * FROM read_csv('https://example.org/x.csv'))",
        "title IN (SELECT * FROM 's3://bucket/x.parquet')",
        "getenv('HOME') <> ''",
        "title IN (SELECT value FROM duckdb_settings() WHERE name = set_config('threads', '1'))",
        "TRUE; COPY catalog TO '{folder}/out.csv'",
        "TRUE; ATTACH '{folder}/out.db' AS other",
        "TRUE); ATTACH '{folder}/out.db' AS other; --",
        "TRUE; INSTALL httpfs",
        "TRUE; LOAD httpfs",
        "TRUE; PRAGMA database_list",
        "TRUE; SET enable_external_access = true",
        "TRUE; RESET lock_configuration",
        "TRUE; EXPORT DATABASE '{folder}/out'",
        "TRUE; CREATE TABLE x AS SELECT 1",
        "TRUE; DROP VIEW catalog",
        "COPY catalog TO '{folder}/out.csv'",
        "ATTACH '{folder}/out.db'",
        "SELECT 1",
        "title IN (COPY catalog TO '{folder}/out.csv')",
        "query('COPY catalog TO ''{folder}/out.csv''')",
        "title IN (SELECT * FROM query('SELECT * FROM read_text(''{file}'')'))",
        "title IN (SELECT * FROM query_table('{file}'))",
        "write_log('x') IS NULL; CHECKPOINT",
    ],
)
def test_where_reads_and_writes_nothing(where: str, table: pa.Table, tmp_path: Path) -> None:
    """Each is refused in one sentence, and leaves nothing; the file holds a work's title."""
    folder = tmp_path / "folder"
    folder.mkdir()
    file = folder / "secret.csv"
    file.write_text("column0\nT\n")
    with pytest.raises(ConfigError, match=r"^where: ") as caught:
        select(table, where.format(file=file, folder=folder))
    assert "\n" not in str(caught.value)
    assert sorted(folder.iterdir()) == [file]


def test_where_that_only_looks_dangerous_is_allowed(table: pa.Table) -> None:
    assert select(table, "title <> 'x; COPY catalog TO y' AND id = 'a'").num_rows == 1


def test_what_is_read_into_catalogs_is_what_a_run_decodes() -> None:
    assert IMAGE_FORMATS == FORMATS


def test_every_call_of_pillow_says_which_formats_it_may_try() -> None:
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(parsed(file.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Image.open"):
                    given = {word.arg for word in node.keywords}
                    assert "formats" in given, f"{file}:{node.lineno}"
