"""A store that fails often, and one that goes away: the run waits, tries again, loses nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import workers
from fault_proxy import KINDS, FaultProxy
from fault_table import FaultTable
from object_server import S3Server
from promise import check

RunFile = Callable[..., Path]


def through(proxy: FaultProxy, server: S3Server) -> dict[str, str]:
    """A worker's environment: the proxy in place of the server."""
    return server.environment(proxy.url)


def run_through(proxy: FaultProxy, server: S3Server, file: Path, seconds: float, **env: str) -> str:
    """Run to the end behind the proxy, in a process of its own; what it logged."""
    log, trace = file.parent / "log", str(file.parent / "trace")
    env = {**through(proxy, server), "EPA_FAULTS_TRACE": trace, **env}
    code = workers.ended(workers.start(file, log=log, **env), seconds)
    text = log.read_text()
    assert code == 0, text
    return text


RATES = {"silence": 0.04, "503": 0.06}  # lower where each costs seconds


def test_some_requests_fail(run_file: RunFile, table: FaultTable, s3: S3Server) -> None:
    file = run_file(4, s3.bucket() + "/out", storage={"timeout": 1})
    with FaultProxy(s3.url, seed=1, rate=0.10, conflicts=0.05, silence=3) as proxy:
        run_through(proxy, s3, file, 120)
    faults = proxy.faults.total()
    assert faults >= 5
    table.keep("10 % of requests fail, a few", check(file), faults, redone=0)


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_of_fault_at_a_time(
    run_file: RunFile, table: FaultTable, s3: S3Server, kind: str
) -> None:
    file = run_file(3, s3.bucket() + "/out", storage={"timeout": 1})
    rate = RATES.get(kind, 0.15)
    with FaultProxy(s3.url, seed=1, rate=rate, conflicts=0.1, silence=3, kinds=(kind,)) as proxy:
        run_through(proxy, s3, file, 120)
    assert proxy.faults[kind] >= 1
    faults = proxy.faults.total()
    table.keep(f"answers: {kind}, and 409 after the fact", check(file), faults, redone=0)


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("keep", [None, []], ids=["cached", "uncached"])
def test_a_tenth_of_all_requests_fails(
    run_file: RunFile, table: FaultTable, s3: S3Server, keep: list[str] | None
) -> None:
    execution = {"shard_size": 24, **({} if keep is None else {"keep": keep})}
    file = run_file(100, s3.bucket() + "/out", storage={"timeout": 2}, execution=execution)
    with FaultProxy(s3.url, seed=2, rate=0.10, conflicts=0.02, silence=5) as proxy:
        run_through(proxy, s3, file, 1500)
    assert set(proxy.faults) == {*KINDS, "409"}
    outcome = check(file, file.parent / "trace")
    name = f"10 % of requests fail, 2 % of creates answered 409, {'un' * (keep == [])}cached"
    table.keep(name, outcome, proxy.faults.total(), redone=0)


@pytest.mark.parametrize(
    "seconds",
    [4, pytest.param(60, marks=[pytest.mark.faults, pytest.mark.timeout(600)])],
)
def test_the_store_goes_away_and_comes_back(
    run_file: RunFile, table: FaultTable, s3: S3Server, seconds: int
) -> None:
    file = run_file(10, s3.bucket() + "/out", storage={"timeout": 2})
    with FaultProxy(s3.url) as proxy:

        def away() -> None:
            while proxy.total("records") < 3:
                time.sleep(0.01)
            proxy.refuse()
            time.sleep(seconds)
            proxy.serve()

        thread = threading.Thread(target=away)
        thread.start()
        start = time.monotonic()
        run_through(proxy, s3, file, seconds + 120, EPA_FAULTS_SLOW="0.1")
        took = time.monotonic() - start
        thread.join()
    assert took > seconds
    outcome = check(file, file.parent / "trace")
    table.keep(f"the store gone for {seconds} s", outcome, 1, redone=0)


@pytest.mark.parametrize(
    "env",
    [
        {},
        # The most there can be: the works are named two by two in the lease, in both passes.
        pytest.param({"EPA_FAULTS_LONG": "1"}, marks=pytest.mark.faults),
    ],
    ids=["quick works", "works named two by two"],
)
def test_bookkeeping_costs_few_requests_a_work(
    run_file: RunFile, table: FaultTable, s3: S3Server, env: dict[str, str]
) -> None:
    works = 96
    file = run_file(works, s3.bucket() + "/out", execution={"shard_size": 48})
    with FaultProxy(s3.url) as proxy:
        run_through(proxy, s3, file, 240, **env)
    assert proxy.total("videos") >= works
    bookkeeping = proxy.total() - proxy.total("videos", "cache", "gallery", "index.html")
    share = bookkeeping / works
    how = "named two by two" if env else "quick"
    table.notes.append(f"bookkeeping requests per work ({works} works, {how}): {share:.2f}")
    assert share <= 3, str(proxy.requests)
    assert check(file).faults() == {}
