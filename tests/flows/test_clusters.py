"""The engines `dask` and `ray`, for real: small clusters of their own, the videos of `local`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import pytest
import workers
from local_runner import run_locally
from paintings import tiny_run, write_paintings
from promise import Objects

from catalogs.errors import ConfigError
from catalogs.ledger import declare_lost
from catalogs.store import Store
from flows.animate_collection import animate_collection
from tasks.collection import Collection
from tasks.config import RunConfig

pytestmark = [
    pytest.mark.usefixtures("prefect_home"),
    pytest.mark.server,
    pytest.mark.timeout(1200),
]
MATRIX = {"variant": ["V+S", "baseline"]}


@pytest.fixture(scope="module")
def paintings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_paintings(tmp_path_factory.mktemp("source"), 6)


@pytest.fixture(scope="module")
def by_hand(paintings: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Frames of every work as the engine `local` makes them, by key."""
    run = tiny_run(paintings, tmp_path_factory.mktemp("local"), matrix=MATRIX)
    run_locally(run)
    return frames(run)


def rows(run: RunConfig) -> list[dict[str, Any]]:
    return Objects.of(run).rows()


def frames(run: RunConfig) -> dict[str, str]:
    return {row["key"]: row["frames_sha256"] for row in rows(run)}


def engine_run(paintings: Path, tmp_path: Path, engine: str, **execution: Any) -> RunConfig:
    given = {"engine": engine, "workers": 2, "shard_size": 2, "lease_seconds": 20, **execution}
    return tiny_run(paintings, tmp_path / "out", matrix=MATRIX, execution=given)


@pytest.mark.parametrize("engine", ["dask", pytest.param("ray", marks=pytest.mark.e2e)])
def test_every_engine_gives_the_same_videos(
    paintings: Path, tmp_path: Path, by_hand: dict[str, str], engine: str
) -> None:
    run = engine_run(paintings, tmp_path, engine)
    summary = animate_collection(run)
    assert summary["counts"] == {"done": 12}
    assert frames(run) == by_hand
    assert len(by_hand) == len(set(by_hand.values())) == 12
    # They were shared, and each process was kept from shard to shard.
    assert len({row["worker"] for row in rows(run)}) == 2
    assert animate_collection(run)["nothing_to_do"]


@pytest.mark.e2e
@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_a_work_that_kills_its_processes_is_set_aside_and_the_others_are_done(
    paintings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    for name in ("PYTHONPATH", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, workers.environment()[name])
    monkeypatch.setenv("EPA_FAULTS_POISON", "Work 3")
    monkeypatch.setenv("EPA_FAULTS_LONG", "1")
    given = {"engine": engine, "workers": 2, "shard_size": 3, "lease_seconds": 30}
    run = tiny_run(paintings, tmp_path / "out", execution=given)
    summary = animate_collection(run)
    assert summary["counts"] == {"done": 5, "quarantined": 1}
    assert summary["codes"] == {"worker_killed": 1}
    assert len(frames(run)) == 6


def test_an_address_at_which_nobody_answers_is_named(paintings: Path, tmp_path: Path) -> None:
    run = engine_run(paintings, tmp_path, "dask", address="tcp://127.0.0.1:9")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(ConfigError, match=r"execution\.address = 'tcp://127\.0\.0\.1:9': no Dask"),
    ):
        animate_collection(run)


@pytest.mark.e2e
def test_a_dask_cluster_that_is_there_is_used_and_stays(
    paintings: Path, tmp_path: Path, by_hand: dict[str, str]
) -> None:
    from distributed import Client, LocalCluster

    how = {"dashboard_address": None, "memory_limit": 0}
    with LocalCluster(n_workers=1, threads_per_worker=2, **how) as cluster:
        run = engine_run(paintings, tmp_path, "dask", address=cluster.scheduler_address)
        with pytest.raises(ConfigError, match="have 2 threads"):
            animate_collection(run)
    with LocalCluster(n_workers=1, threads_per_worker=1, **how) as cluster:
        run = engine_run(paintings, tmp_path, "dask", address=cluster.scheduler_address)
        assert animate_collection(run)["counts"] == {"done": 12}
        assert frames(run) == by_hand
        # A second run in the same process goes by its own plan, not by the first one's.
        keys = by_hand.keys()
        declare_lost(Store.open(run.output), Collection.open(run).ledger.current(keys))
        assert animate_collection(run)["counts"] == {"done": 12}
        assert [row.attempt for row in Collection.open(run).ledger.current(keys)] == [2] * 12

        def kept() -> tuple[object, int]:
            from tasks import collection, models

            return collection._opened, models._model.cache_info().currsize

        # Nothing of them is kept in a process that goes on living.
        with Client(cluster) as client:
            assert set(client.run(kept).values()) == {(None, 0)}
