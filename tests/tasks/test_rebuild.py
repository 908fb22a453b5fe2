"""The manifest made anew from the videos: what comes back, what does not, what is left alone."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
from dying import Dying, Killed
from local_runner import run_locally
from paintings import tiny_run, write_paintings

from catalogs import paths
from catalogs.errors import DamagedError
from catalogs.keys import digest_bytes
from catalogs.leases import Leases
from catalogs.ledger import compact, declare_lost, load, seal_shard
from catalogs.records import TIMINGS, from_table
from catalogs.store_local import LocalStore
from catalogs.verification import verify
from tasks.collection import Collection
from tasks.config import RunConfig
from tasks.rebuild import Rebuilt, rebuild

# What only the record knew: how long things took and what was measured on the way.
GONE = {"motion", "motion_top5", "first_frame_ssim", "blend_share", "flicker", "drift", "flag"}
GONE |= {"loop_seam", "batch_size", "peak_memory", "device", "torch", "code_version", "worker"}
GONE |= {"started_at", "finished_at", "source_width", "source_height", "outputs"}
GONE |= {"frames_sha256"}  # but where there is a lossless archive


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_paintings(tmp_path / "in", 4)


def finished(run: RunConfig) -> Collection:
    summary, collection = run_locally(run)
    assert summary.counts == {"done": summary.works}
    return collection


def rows_of(run: RunConfig) -> dict[str, dict[str, Any]]:
    table = Collection.open(run).results()
    return {row["key"]: row for row in table.to_pylist(maps_as_pydicts="strict")}


def forget(collection: Collection, *folders: str) -> None:
    for folder in folders or (paths.MANIFEST, paths.RECORDS, paths.SEALS):
        collection.store.delete([info.path for info in collection.store.list(folder)])


def mended(run: RunConfig) -> Rebuilt:
    """Rebuild; afterwards all is well and nothing is left to do."""
    report = rebuild(Collection.open(run))
    after = Collection.open(run)
    works = {work.key: work.item_id for work in after.works}
    assert verify(after.store, works, after.plan_key, everything=True, deep=True).findings == []
    assert set(after.plan.reasons) == {"done"}
    assert after.finished_summary() is None  # the next run looks for itself
    return report


def test_every_row_comes_back_as_far_as_the_files_tell(source: Path, tmp_path: Path) -> None:
    run = tiny_run(source, tmp_path / "out", encode={"loop": "ping-pong"})
    collection = finished(run)
    before = rows_of(run)
    forget(collection)
    report = mended(run)
    assert (report.rows, report.recorded, report.left_out) == (4, 0, {})
    after = rows_of(run)
    assert set(after) == set(before)
    for key, row in before.items():
        other = {name for name in row if row[name] != after[key][name]}
        assert other <= GONE | set(TIMINGS)
        assert after[key]["worker"] == "rebuild"
        files = sorted(before[key]["outputs"], key=lambda file: file["name"])
        assert sorted(after[key]["outputs"], key=lambda file: file["name"]) == files
    assert run_locally(run)[0].counts == {"done": 4}


def test_archive_and_gif_belong_to_the_result_and_the_archive_tells_the_digest(
    source: Path, tmp_path: Path
) -> None:
    run = tiny_run(source, tmp_path / "out", encode={"archive": True, "gif": True})
    collection = finished(run)
    before = rows_of(run)
    forget(collection)
    mended(run)
    for key, row in rows_of(run).items():
        assert row["frames_sha256"] == before[key]["frames_sha256"]
        assert {file["name"] for file in row["outputs"]} >= {"frames.mkv", "video.gif"}


def test_a_matrix_comes_back_cell_by_cell(source: Path, tmp_path: Path) -> None:
    run = tiny_run(source, tmp_path / "out", limit=2, matrix={"variant": ["baseline", "V+S"]})
    collection = finished(run)
    before = {key: (row["cell"], row["variant"], row["keys"]) for key, row in rows_of(run).items()}
    forget(collection)
    assert mended(run).rows == 4
    after = {key: (row["cell"], row["variant"], row["keys"]) for key, row in rows_of(run).items()}
    assert after == before


def test_rows_that_are_there_stay(source: Path, tmp_path: Path) -> None:
    run = tiny_run(source, tmp_path / "out", execution={"shard_size": 2})
    collection = finished(run)
    parts = [info.path for info in collection.store.list(paths.PARTS)]
    assert len(parts) > 1
    before = rows_of(run)
    collection.store.delete(parts[:1])
    report = mended(run)
    assert report.rows + report.recorded == 4
    assert 0 < report.rows < 4
    kept = {key for key, row in rows_of(run).items() if row["worker"] != "rebuild"}
    assert len(kept) == report.recorded
    assert all(rows_of(run)[key] == before[key] for key in kept)
    assert rebuild(Collection.open(run)).rows == 0  # once is enough


def test_results_of_other_settings_and_of_works_left_out(source: Path, tmp_path: Path) -> None:
    finished(tiny_run(source, tmp_path / "out", encode={"fps": 12}))
    run = tiny_run(source, tmp_path / "out", limit=3)
    collection = finished(run)
    forget(collection)
    report = mended(run)
    assert (report.rows, report.superseded) == (7, 4)
    ledger = Collection.open(run).ledger
    other = [row for row in ledger.table().to_pylist() if row["item_id"] not in _items(run)]
    assert [(row["fps"], row["artist"]) for row in other] == [(12.0, "The Tester")]
    assert other[0]["title"].startswith("Work ")


def _items(run: RunConfig) -> set[str]:
    return {work.item_id for work in Collection.open(run).works}


def test_long_and_strange_item_ids_are_told_by_their_hash(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 2)
    lines = (source / "metadata.csv").read_text().splitlines()
    ids = ["x" * 300, "a ] key=b config=c] <i>\U0001f3a8"]
    rows = [f"id,{lines[0]}", *(f"{i},{line}" for i, line in zip(ids, lines[1:], strict=True))]
    (source / "catalog.csv").write_text("\n".join(rows) + "\n")
    run = tiny_run(source / "catalog.csv", tmp_path / "out", columns={"image_uri": "file_name"})
    collection = finished(run)
    assert {work.item_id for work in collection.works} == set(ids)
    # Under other settings nothing but the files tells whose they are.
    forget(collection)
    other = tiny_run(
        source / "catalog.csv",
        tmp_path / "out",
        columns={"image_uri": "file_name"},
        encode={"crf": 30},
    )
    assert rebuild(Collection.open(other)).superseded == 2
    assert {row.item_id for row in load(collection.store).current()} == set(ids)


@pytest.mark.parametrize("harm", ["cut off", "flipped", "renamed"])
def test_a_folder_that_is_not_whole_is_reported_and_left_out(
    source: Path, tmp_path: Path, harm: str
) -> None:
    run = tiny_run(source, tmp_path / "out")
    collection = finished(run)
    video = next((tmp_path / "out/videos").rglob("video.mp4"))
    if harm == "cut off":
        (video.parent / "poster.jpg").unlink()
    elif harm == "flipped":
        data = bytearray(video.read_bytes())
        data[len(data) // 2] ^= 1
        video.write_bytes(data)
    else:
        key, _, digest = video.parent.name.partition("-")
        video.parent.rename(video.parent.with_name(f"{key[::-1]}-{digest}"))
    forget(collection)
    report = rebuild(Collection.open(run))
    assert (report.rows, len(report.left_out)) == (3, 1)
    assert run_locally(run)[0].counts == {"done": 4}


@pytest.mark.parametrize("folder", [paths.PARTS, paths.RECORDS, paths.HEADS, paths.SNAPSHOTS])
@pytest.mark.parametrize("damage", [b"", b"PAR1", b"{}"])
def test_damaged_state_is_moved_aside_and_made_good(
    source: Path, tmp_path: Path, folder: str, damage: bytes
) -> None:
    run = tiny_run(source, tmp_path / "out")
    collection = finished(run)
    if folder in (paths.HEADS, paths.SNAPSHOTS):
        compact(collection.store)
        forget(collection, paths.PARTS)
    path = next((i.path for i in collection.store.list(folder)), paths.record("s", "e" * 32, 1))
    collection.store.put(path, damage)
    if folder != paths.RECORDS:
        with pytest.raises(DamagedError):
            load(collection.store).current()
    report = mended(run)
    assert path in report.moved
    assert collection.store.get(f"{paths.DAMAGED}/{path}") == damage
    assert report.rows == (0 if folder == paths.RECORDS else 4)


def test_an_attempt_that_was_lost_or_failed_is_not_used_again(source: Path, tmp_path: Path) -> None:
    run = tiny_run(source, tmp_path / "out")
    collection = finished(run)
    declare_lost(collection.store, load(collection.store).current())
    forget(collection)
    mended(run)
    assert {row["attempt"] for row in rows_of(run).values()} == {2}


def test_the_newest_of_several_results_of_one_work_counts(source: Path, tmp_path: Path) -> None:
    run = tiny_run(source, tmp_path / "out", limit=1)
    collection = finished(run)
    [row] = rows_of(run).values()
    files = {output["name"]: collection.store.get(output["path"]) for output in row["outputs"]}
    files["poster.jpg"] = b"another attempt's poster"
    digests = [digest_bytes(data or b"") for data in files.values()]
    content = digest_bytes("".join(sorted(digests)).encode())
    for name, data in files.items():
        path = paths.output(row["item_id"], row["key"], content, name, label="The Tester Work 0")
        collection.store.put(path, data or b"")
    forget(collection)
    report = mended(run)
    assert report.rows == 1
    assert list(report.left_out.values()) == ["the work has another result"]
    [after] = rows_of(run).values()
    assert content[:12] in after["outputs"][0]["path"]


def test_what_a_living_worker_is_at_is_left_to_it(source: Path, tmp_path: Path) -> None:
    run = tiny_run(source, tmp_path / "out", limit=2)
    collection = finished(run)
    work = collection.works[0]
    forget(collection)
    lease = Leases(collection.store, collection.plan_key, 600).acquire("s")
    assert lease is not None
    lease.name({work.key: work.item_id})
    report = rebuild(Collection.open(run))
    lease.release()
    assert (report.rows, list(report.left_out.values())) == (1, ["a worker is at it"])


def test_failures_that_are_recorded_stay_recorded(source: Path, tmp_path: Path) -> None:
    (source / "work-0001.png").write_bytes(b"no picture")
    run = tiny_run(source, tmp_path / "out")
    _, collection = run_locally(run)
    rows = from_table(load(collection.store).table())
    forget(collection, paths.MANIFEST)
    seal_shard(collection.store, "f" * 32, "s", [row for row in rows if row.status == "failed"])
    assert rebuild(Collection.open(run)).rows == 3
    assert sorted(Collection.open(run).plan.reasons) == ["done", "done", "done", "failed"]


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_request_it_is_simply_called_again(
    source: Path, tmp_path: Path, after: bool
) -> None:
    run = tiny_run(source, tmp_path / "out", execution={"shard_size": 1})
    finished(run)
    shutil.move(tmp_path / "out", tmp_path / "whole")
    for place in itertools.count(1):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "out")
        store = LocalStore(tmp_path / "out")
        for info in store.list(paths.PARTS)[:2]:
            store.put(info.path, b"PAR1")
        collection = Collection.open(run)
        collection.store = Dying(tmp_path / "out", place, after=after)
        try:
            rebuild(collection)
        except Killed:
            mended(run)
        else:
            assert place > 5  # it did die, at each of its requests
            break
