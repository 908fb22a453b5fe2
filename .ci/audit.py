"""`make audit`: known vulnerabilities of the installed packages, as pip-audit finds them.

Exit code 1 for one that an update would mend, 3 where no vulnerability service could be asked (who
may do without the audit says so: `.venv/bin/python .ci/audit.py || [ $? = 3 ]`), else 0: those that
nothing mends yet are shown. pip-audit itself takes packages for which
it got no answer as free of vulnerabilities.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

SERVICES = ("pypi", "osv")  # the second one where the first gives no answer
TIMEOUT = 300  # seconds
NOT_AUDITED = 3  # exit code; 2 is what make turns every other one into
Package = dict[str, Any]


def main() -> int:
    """Print what was found and return the exit code."""
    for service in SERVICES:
        packages, problem = ask(service)
        asked = [package for package in packages if "skip_reason" not in package]
        if asked:
            return judge(asked, [p["name"] for p in packages if "skip_reason" in p])
        say(f"no answer from {service}: {problem or packages[0]['skip_reason']}")
    say("NOT AUDITED: no vulnerability service could be asked; nothing is known of any package")
    return NOT_AUDITED


def ask(service: str) -> tuple[list[Package], str]:
    """All installed packages with what ``service`` knows of them; or none, and the reason."""
    options = ["--vulnerability-service", service, "--format", "json", "--progress-spinner", "off"]
    command = [sys.executable, "-m", "pip_audit", "--skip-editable", *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)  # noqa: S603
    except subprocess.TimeoutExpired:
        return [], f"nothing came in {TIMEOUT} seconds"
    try:
        packages: list[Package] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return [], done.stderr.strip().rpartition("\n")[2][:200] or f"exit code {done.returncode}"
    return packages, "" if packages else "no packages are installed"


def judge(asked: list[Package], left_out: list[str]) -> int:
    """Print the vulnerabilities found; 1 if one of them has a fix."""
    found = [(package, flaw) for package in asked for flaw in package["vulns"]]
    for package, flaw in found:
        fixed = ", ".join(flaw["fix_versions"]) or "nothing yet"
        say(f"{package['name']} {package['version']}: {flaw['id']}, mended by {fixed}")
    rest = f"; no answer for {len(left_out)}: {', '.join(left_out)}" if left_out else ""
    say(f"{len(asked)} packages audited, {len(found)} vulnerabilities{rest}")
    return int(any(flaw["fix_versions"] for _, flaw in found))


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"audit: {line}\n")


if __name__ == "__main__":
    sys.exit(main())
