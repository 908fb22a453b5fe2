"""The whole line without Prefect: paintings in, videos and manifest out; resume and redo."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from local_runner import run_locally
from paintings import painting, tiny_run, write_paintings

from catalogs.keys import digest_bytes
from catalogs.ledger import load
from tasks import shards
from tasks.collection import Collection, register
from tasks.keychain import KeyChain

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


def frames_of(collection: Collection) -> dict[str, str]:
    """Item -> frames_sha256 of the collection's present works."""
    rows = collection.ledger.table([work.key for work in collection.works]).to_pylist()
    return {row["item_id"]: row["frames_sha256"] for row in rows}


def test_every_work_gets_files_record_and_a_row(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 5)
    summary, collection = run_locally(tiny_run(source, tmp_path / "out"))
    assert summary.counts == {"done": 5}
    rows = collection.ledger.table().to_pylist(maps_as_pydicts="lossy")
    assert len({row["item_id"] for row in rows}) == len(rows) == 5
    for row in rows:
        assert [output["name"] for output in row["outputs"]] == [
            "video.mp4",
            "preview.webp",
            "poster.jpg",
        ]
        for output in row["outputs"]:
            data = collection.store.get(output["path"])
            assert digest_bytes(data) == output["sha256"]
            assert len(data) == output["bytes"]
        assert row["frames"] == 4
        assert row["flag"] in ("good", "static", "cross-fade", "drift", "flicker")
        assert row["source_width"] == 40
        assert json.loads(row["material"])["prompt"] == row["prompt"]
        assert all(row[name] > 0 for name in ("t_prepare", "t_proxy", "t_distill", "t_animate"))
    assert len({row["seed"] for row in rows}) == 5
    # Records were sealed into the manifest; only that is left.
    assert collection.store.list("records") == []
    assert collection.finished_summary()["counts"] == {"done": 5}


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    run = tiny_run(write_paintings(tmp_path / "in", 3), tmp_path / "out")
    run_locally(run)
    again = Collection.open(run)
    again.store.counts.clear()
    assert again.finished_summary() is not None
    assert again.store.counts.total() == 1
    assert not again.plan.shards


@pytest.mark.parametrize(
    ("change", "redone"),
    [
        ({"encode": {"fps": 12}}, {"encode", "measure"}),
        ({"animate": {"kappa0": 5.0}}, {"animate", "encode", "measure"}),
        (
            {"distill": {"p": 0.4}},
            {"distill.real", "distill.proxy", "animate", "encode", "measure"},
        ),
    ],
)
def test_a_changed_setting_redoes_only_what_depends_on_it(
    tmp_path: Path, change: dict[str, dict[str, float]], redone: set[str], monkeypatch: object
) -> None:
    source = write_paintings(tmp_path / "in", 2)
    run_locally(tiny_run(source, tmp_path / "out"))
    run = tiny_run(source, tmp_path / "out", **change)
    collection = Collection.open(run)
    assert all(set(work.stages) == redone for work in collection.plan.pending)
    [(stage, [(field, _)])] = [(s, list(f.items())) for s, f in change.items()]
    assert all(f"{stage}.{field}" in reason for reason in collection.plan.counts)
    before = {info.path for info in collection.store.list("cache")}
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 2}
    fresh = {
        info.path.split("/")[1]
        for info in collection.store.list("cache")
        if info.path not in before
    }
    families = {name.partition(".")[0] for name in redone}
    assert fresh == families & {"prepare", "proxy", "distill", "animate"}


def test_changed_fps_keeps_the_frames(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 2)
    _, first = run_locally(tiny_run(source, tmp_path / "out"))
    _, second = run_locally(tiny_run(source, tmp_path / "out", encode={"fps": 24}))
    assert frames_of(first) == frames_of(second)


def test_same_frames_alone_in_shards_of_any_size_and_batch(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 7)
    reference = None
    for number, settings in enumerate(
        [
            {"execution": {"shard_size": 1, "batch_size": 1}},
            {"execution": {"shard_size": 50, "batch_size": 4}},
            {"execution": {"keep": []}},
            {"where": "title = 'Work 3'"},
        ]
    ):
        _, collection = run_locally(tiny_run(source, tmp_path / f"out{number}", **settings))
        frames = frames_of(collection)
        reference = reference or frames
        assert frames.items() <= reference.items()
        assert len(frames) in (1, 7)


def test_a_lost_or_damaged_cache_is_recomputed_to_the_same_frames(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 3)
    _, first = run_locally(tiny_run(source, tmp_path / "out"))
    for index, info in enumerate(first.store.list("cache")):
        path = tmp_path / "out" / info.path
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x40
        path.write_bytes(bytes(data)) if index % 2 else path.unlink()
    # Everything from the encoding on is to be redone, from what is left of the cache.
    _, second = run_locally(tiny_run(source, tmp_path / "out", encode={"crf": 20}))
    assert frames_of(first) == frames_of(second)


def test_one_bad_painting_fails_alone(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 4)
    (source / "work-0001.png").write_bytes(b"no picture at all")
    summary, collection = run_locally(tiny_run(source, tmp_path / "out"))
    assert summary.counts == {"done": 3, "failed": 1}
    assert summary.codes == {"decode_failed": 1}
    # A final failure is not tried again by itself ...
    assert not Collection.open(collection.run).plan.shards
    # ... and the finished plan is sealed although it has a failure.
    assert collection.finished_summary() is not None


def test_a_mended_painting_is_taken_up(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 2)
    (source / "work-0001.png").write_bytes(b"no picture at all")
    run = tiny_run(source, tmp_path / "out")
    run_locally(run)
    painting(1).save(source / "work-0001.png")
    summary, _ = run_locally(run)
    assert summary.counts == {"done": 2}


def test_shards_hold_every_pending_work_once(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 23)
    run = tiny_run(source, tmp_path / "out", execution={"shard_size": 4})
    collection = Collection.open(run)
    names = Counter(
        job.work.item_id
        for name in collection.plan.shards
        for shard in collection.shards(name)
        for job in shard.jobs
    )
    assert names == Counter(work.item_id for work in collection.works)


def test_without_a_proxy_cache_each_proxy_is_drawn_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from epa_core.proxies.preview import PreviewProxy

    make, drawn = PreviewProxy.make, []

    def counted(self: PreviewProxy, images: list, *rest: object) -> object:
        drawn.extend(images)
        return make(self, images, *rest)

    monkeypatch.setattr(PreviewProxy, "make", counted)
    source = write_paintings(tmp_path / "in", 3)
    run_locally(tiny_run(source, tmp_path / "out", execution={"keep": []}))
    assert len(drawn) == 3


def test_it_runs_in_memory_too(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 2)
    summary, collection = run_locally(tiny_run(source, f"memory://{tmp_path.name}/out"))
    assert summary.counts == {"done": 2}
    assert collection.store.get("index.html").startswith(b"<!doctype html")


@pytest.mark.parametrize("variant", ["baseline", "V", "S", "V+U"])
def test_ablations_run_and_differ(tmp_path: Path, variant: str) -> None:
    source = write_paintings(tmp_path / "in", 1)
    _, whole = run_locally(tiny_run(source, tmp_path / "whole"))
    summary, ablation = run_locally(tiny_run(source, tmp_path / "out", variant=variant))
    assert summary.counts == {"done": 1}
    assert [work.key for work in whole.works] != [work.key for work in ablation.works]


def test_a_given_proxy_is_used_and_a_missing_one_is_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(2):
        painting(number).save(folder / f"{number}.png")
    painting(9).save(folder / "0.proxy.png")
    (folder / "works.csv").write_text(
        "id,image,proxy_uri,prompt\na,0.png,0.proxy.png,water ripples\nb,1.png,,water ripples\n"
    )
    run = tiny_run(folder / "works.csv", tmp_path / "out", proxy={"name": "given"})
    summary, _ = run_locally(run)
    assert summary.counts == {"done": 1, "failed": 1}
    assert summary.codes == {"no_proxy": 1}


def test_a_plan_is_named_by_all_that_its_keys_are_made_of(tmp_path: Path) -> None:
    run = tiny_run(write_paintings(tmp_path / "in", 4), tmp_path / "out")
    first = Collection.open(run)
    again = Collection(run, first.store, pa.concat_tables([first.table[:1], first.table[1:]]))
    assert again.plan_key == first.plan_key == first.plan.plan_key  # however it lies in memory
    changed = {
        "row": {"where": "title <> 'Work 1'"},
        "prompt": {"prompts": {"text": "waves"}},
        "setting": {"encode": {"fps": 5}},
        "seed": {"seed": 1},
        "matrix": {"matrix": {"variant": ["baseline", "V+S"]}},
    }
    names = {
        name: Collection.open(tiny_run(tmp_path / "in", tmp_path / "out", **settings)).plan_key
        for name, settings in changed.items()
    }
    assert len({first.plan_key, *names.values()}) == 1 + len(changed)
    runtime = tiny_run(tmp_path / "in", tmp_path / "out", execution={"shard_size": 1})
    assert Collection.open(runtime).plan_key == first.plan_key


def test_two_plans_over_one_collection_do_no_work_twice(tmp_path: Path) -> None:
    """A nightly run that overlaps yesterday's: the catalog has grown in between."""
    source, out = write_paintings(tmp_path / "in", 6), tmp_path / "out"
    slow = tiny_run(source, out, execution={"shard_size": 3})
    yesterday = Collection.open(slow)
    planned = list(yesterday.plan.shards)  # and then the machine was busy with something else
    write_paintings(tmp_path / "in", 8)
    summary, collection = run_locally(tiny_run(source, out, execution={"shard_size": 2}))
    assert summary.counts == {"done": 8}
    register(yesterday)
    assert [shards.animate(slow, shard_id) for shard_id in planned] == [{}] * len(planned)
    rows = load(collection.store).columns(["key", "attempt"]).to_pylist()
    assert len(rows) == len({(row["key"], row["attempt"]) for row in rows}) == 8


def test_nothing_to_do_makes_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny_run(write_paintings(tmp_path / "in", 2), tmp_path / "out")
    run_locally(run)
    monkeypatch.setattr(KeyChain, "keys", lambda *_: pytest.fail("keys were made"))
    assert Collection.open(run).finished_summary() is not None
