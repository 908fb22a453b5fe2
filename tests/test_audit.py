"""What `make audit` makes of pip-audit's answers, above all of none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci" / "audit.py"
CLEAN = {"name": "numpy", "version": "2.0", "vulns": []}
MENDED = {"id": "CVE-1", "fix_versions": ["2.1"]}
OPEN = {"id": "CVE-2", "fix_versions": []}
UNKNOWN = {"name": "torch", "skip_reason": "Dependency not found on PyPI: torch (2.13.0+cpu)"}


@pytest.mark.parametrize(
    ("dependencies", "code", "said"),
    [
        ([CLEAN], 0, "1 packages audited, 0 vulnerabilities"),
        ([{**CLEAN, "vulns": [MENDED]}], 1, "numpy 2.0: CVE-1, mended by 2.1"),
        ([{**CLEAN, "vulns": [OPEN]}], 0, "numpy 2.0: CVE-2, mended by nothing yet"),
        ([CLEAN, UNKNOWN], 0, "no answer for 1: torch"),
        ([UNKNOWN, UNKNOWN], 3, "NOT AUDITED"),
        (None, 3, "NOT AUDITED"),
    ],
)
def test_what_the_audit_says(dependencies: Any, code: int, said: str, tmp_path: Path) -> None:
    answer = json.dumps({"dependencies": dependencies, "fixes": []})
    program = f"print({answer!r})" if dependencies else "raise OSError('the network is away')"
    (tmp_path / "pip_audit.py").write_text(program)
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == code, done.stderr
    assert said in done.stdout
    if dependencies is None:
        assert "the network is away" in done.stdout
