"""One test per recorded case and check, from the folder that --golden names."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from golden_case import GoldenCase
from kinds import ELSEWHERE, checks_of

_CASES = pytest.StashKey[list[GoldenCase]]()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "recorded_check" not in metafunc.fixturenames:
        return
    config = metafunc.config
    found = list(checks_of(Path(config.getoption("golden"))))
    metafunc.parametrize("recorded_check", [pytest.param(run, id=name) for name, run, _ in found])
    cases = {id(case): case for _, _, case in found if case is not None}
    config.stash[_CASES] = list(cases.values())


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """With -vv: how far each result lay from its recorded values."""
    cases = config.stash.get(_CASES, [])
    if config.get_verbosity() < 1 or not cases:
        return
    terminalreporter.section("largest differences from recorded values (allowed)")
    for case in [case for case in cases if case.largest]:
        terminalreporter.write_line(case.name)
        for name, (off, allowed) in case.largest.items():
            terminalreporter.write_line(f"  {name:45} {off:.2e} ({allowed:.2e})")
    for kind, where in ELSEWHERE.items():
        terminalreporter.write_line(f"{kind} of tests/golden: checked by {where}")
