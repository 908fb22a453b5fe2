"""The flow under Prefect: one task run per shard and pass, artifacts, resume, interruption."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from paintings import tiny_run, write_paintings
from prefect.client.orchestration import get_client

from catalogs.store import Store
from epa_core.errors import UnsupportedError
from flows.animate_collection import animate_collection
from tasks import animate_pass

pytestmark = pytest.mark.usefixtures("prefect_home")


def task_names() -> list[str]:
    with get_client(sync_client=True) as client:
        return sorted(run.name for run in client.read_task_runs())


def test_the_flow_animates_a_collection_and_shows_it(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 6)
    run = tiny_run(source, tmp_path / "out", title="flow test", execution={"shard_size": 3})
    state = animate_collection(run, return_state=True)
    assert state.is_completed()
    summary = state.result()
    assert summary["counts"] == {"done": 6}
    shards = json.loads(
        Store.open(run.output).get(
            next(Path(run.output).glob("runs/*/plan.json")).relative_to(run.output).as_posix()
        )
    )["shards"]
    assert shards >= 2
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(state.state_details.flow_run_id)
        tasks = client.read_task_runs()
    assert flow_run.name == "flow test"
    names = [task.name for task in tasks if task.flow_run_id == flow_run.id]
    # Never one task per painting: a proxy and an animation task for each shard.
    assert sum(name.startswith("proxy-s") for name in names) == shards
    assert sum(name.startswith("animate-s") for name in names) == shards


def test_artifacts_tell_what_came_out(tmp_path: Path) -> None:
    from prefect.artifacts import Artifact

    source = write_paintings(tmp_path / "in", 2)
    (source / "work-0001.png").write_bytes(b"no picture")
    animate_collection(tiny_run(source, tmp_path / "out", title="artifacts"))
    table = Artifact.get("epa-shards")
    assert table is not None
    total, row = json.loads(table.data)
    # The work that failed in the first pass is not met again in the second.
    assert (row["done"], row["failed"]) == (1, "1 decode_failed")
    assert total == {**row, "shard": "all"}
    summary = Artifact.get("epa-summary")
    assert summary is not None
    assert "- 1 `decode_failed`" in summary.data
    progress = Artifact.get("epa-videos")
    assert progress is not None
    assert float(progress.data) == 100.0
    sheet = Artifact.get("epa-first-works")
    assert sheet is not None
    assert sheet.data.startswith("![contact sheet](data:image/jpeg;base64,")
    assert len(sheet.data) < 420_000


def test_an_interrupted_flow_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_paintings(tmp_path / "in", 6)
    run = tiny_run(source, tmp_path / "out", title="interrupted", execution={"shard_size": 2})
    whole, calls = animate_pass.run, 0

    def stops_at_the_second_shard(shard: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        whole(shard)  # type: ignore[arg-type]  # a Shard

    monkeypatch.setattr(animate_pass, "run", stops_at_the_second_shard)
    with pytest.raises(KeyboardInterrupt):
        animate_collection(run)
    done = len(list(Path(run.output).glob("videos/*/*/video.mp4")))
    assert 0 < done < 6
    monkeypatch.undo()
    assert animate_collection(run)["counts"] == {"done": 6}
    # Nothing was done twice: every work has one result.
    assert len(list(Path(run.output).glob("videos/*/*/video.mp4"))) == 6


def test_nothing_to_do_makes_no_task_runs(tmp_path: Path) -> None:
    run = tiny_run(write_paintings(tmp_path / "in", 2), tmp_path / "out", title="twice")
    animate_collection(run)
    before = task_names()
    again = animate_collection(run)
    assert again["nothing_to_do"]
    assert again["counts"] == {"done": 2}
    assert task_names() == before


def test_a_model_that_cannot_run_is_found_before_any_proxy_is_drawn(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 2)
    run = tiny_run(source, tmp_path / "out", model={"num_frames": 4, "options": {"speed": 3}})
    with pytest.raises(UnsupportedError, match="takes no 'speed'"):
        animate_collection(run)
    assert not list(Path(run.output).glob("cache/proxy/**/*.png"))
