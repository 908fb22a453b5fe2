"""The shape of the code: imports point one way, and nothing heavy hides behind light modules."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "flows": {"flows", "tasks", "epa_core", "catalogs"},
    "tasks": {"tasks", "epa_core", "catalogs"},
    "epa_core": {"epa_core"},
    "catalogs": {"catalogs"},
}
FORBIDDEN = {
    "epa_core": {"prefect", "fsspec", "pyarrow", "duckdb", "typer", "os"},
    "catalogs": {"prefect", "torch", "diffusers", "typer", "rich"},
    "tasks": {"typer", "rich"},
}


def imports(file: Path) -> set[str]:
    """Top-level names of all modules that ``file`` imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package: str) -> None:
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        ours = imports(file) & set(MAY_IMPORT)
        assert ours <= MAY_IMPORT[package], f"{file}: {ours - MAY_IMPORT[package]}"
        forbidden = imports(file) & FORBIDDEN.get(package, set())
        assert not forbidden, f"{file}: {forbidden}"


def test_prefect_is_imported_by_the_flow_only() -> None:
    allowed = {
        "tasks/prefect_tasks.py",
        "flows/engines/choice.py",
        "flows/engines/clusters.py",
        "flows/engines/workers.py",
        "flows/animate_shard.py",
        "flows/animate_collection.py",
        "flows/artifacts.py",
        "flows/notify.py",
        "flows/run_page.py",
        "flows/automations.py",
        "flows/deploying.py",
        "flows/evaluate.py",
        "flows/maintain.py",
        "flows/server.py",
    }
    users = {
        str(file.relative_to(ROOT))
        for package in MAY_IMPORT
        for file in (ROOT / package).rglob("*.py")
        if "prefect" in imports(file)
    }
    assert users == allowed


def test_no_module_hides_one_of_pythons() -> None:
    """Prefect puts a deployment's folder before all others, and child processes keep that."""
    ours = {path.stem for path in (ROOT / "flows").glob("*.py")}
    assert not ours & sys.stdlib_module_names


@pytest.mark.parametrize("module", ["tasks.config", "tasks.collection", "epa_core.cards"])
def test_light_modules_stay_light(module: str) -> None:
    code = f"import sys, {module}; print({{'torch', 'prefect', 'diffusers'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_files_can_be_held_in_the_head() -> None:
    long = {
        str(file.relative_to(ROOT)): lines
        for package in MAY_IMPORT
        for file in (ROOT / package).rglob("*.py")
        if (lines := len(file.read_text().splitlines())) > 340
    }
    assert not long
