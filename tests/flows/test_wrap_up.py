"""The end of a run, while others ask for more."""

from __future__ import annotations

from pathlib import Path

import pytest
from acting import Acting
from local_runner import run_locally
from paintings import tiny_run, write_paintings

from catalogs import paths
from catalogs.ledger import declare_lost, load, reopen
from catalogs.store_local import LocalStore
from flows.wrap_up import wrap_up
from tasks.collection import Collection

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("ask", [reopen, declare_lost])
def test_a_wish_of_the_very_moment_keeps_the_plan_open(
    tmp_path: Path, moment: str, ask: object, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_paintings(tmp_path / "in", 2)
    (source / "work-0001.png").write_bytes(b"no picture at all")
    run = tiny_run(source, tmp_path / "out")
    run_locally(run)
    store = LocalStore(tmp_path / "out")
    status = "failed" if ask is reopen else "done"

    def retry() -> None:
        rows = [row for row in load(store).current() if row.status == status]
        assert ask(store, rows) == 1  # type: ignore[operator]

    collection = Collection.open(run)
    seal = paths.seal_all(collection.plan_key)
    store.delete([seal])
    collection.store = Acting(store.root).when(moment, "create", seal, retry)
    wrap_up(collection, 0.0)
    assert collection.store.acted == 1
    after = Collection.open(run)
    assert after.plan.shards
    assert after.finished_summary() is None
    assert "run again" in caplog.text
    assert run_locally(run)[0].works == 2
    assert Collection.open(run).finished_summary() is not None
