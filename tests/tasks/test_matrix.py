"""A matrix of settings: every cell like a run of its own, every shared stage made once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from local_runner import run_locally
from paintings import painting, tiny_run, write_paintings

from catalogs.cache import Cache
from tasks import animate_pass, distill, keychain
from tasks.collection import Collection
from tasks.failures import RepeatedFault
from tasks.keychain import KeyChain

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

VARIANTS = ["baseline", "V", "S", "V+U", "V+S"]
ABLATION = {"variant": VARIANTS, "distill.p": [0.4, 0.8]}
# The baseline and S know nothing of p; the others distil once for each p.
WORKS = 2 + 3 * 2


def frames_of(collection: Collection) -> dict[tuple[str, str | None], str]:
    """(Item, cell) -> frames_sha256 of the collection's present works."""
    rows = collection.results().to_pylist()
    return {(row["item_id"], row["cell"]): row["frames_sha256"] for row in rows}


# -- keys


def test_cells_have_the_keys_of_plain_runs_and_the_model_is_identified_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_paintings(tmp_path / "in", 2)
    calls = []
    identify = keychain.model_identity
    monkeypatch.setattr(
        keychain, "model_identity", lambda *args, **more: calls.append(1) or identify(*args, **more)
    )
    collection = Collection.open(tiny_run(source, tmp_path / "out", matrix=ABLATION))
    assert len(calls) == 1
    assert [work.item_id for work in collection.works] == [
        item for item in collection.table["id"].to_pylist() for _ in range(WORKS)
    ]
    row = collection.table.to_pylist()[0]
    found = collection.cells_by_key(0)
    assert len(found) == WORKS
    for key, cells in found.items():
        for cell in cells:
            assert cell.label is not None
            variant, p = (pair.partition("=")[2] for pair in cell.label.split(", "))
            plain = tiny_run(source, tmp_path / "x", variant=variant, distill={"p": float(p)})
            assert list(KeyChain(plain.recipe()).keys(row).values())[-1] == key


# -- work


def test_every_shared_stage_is_made_once_and_every_cell_is_as_a_run_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from epa_core.proxies.preview import PreviewProxy

    made, distilled, drawn = [], [], []
    put, run_distill, make = Cache.put, distill.run, PreviewProxy.make

    def counted_put(self: Cache, stage: str, key: str, *rest: Any) -> Any:
        made.append((stage, key))
        return put(self, stage, key, *rest)

    def counted_distill(pipeline: Any, images: list[Any], *rest: Any) -> Any:
        distilled.extend(images)
        return run_distill(pipeline, images, *rest)

    def counted_make(self: PreviewProxy, images: list[Any], *rest: Any) -> Any:
        drawn.extend(images)
        return make(self, images, *rest)

    source = write_paintings(tmp_path / "in", 3)
    with monkeypatch.context() as patch:
        patch.setattr(Cache, "put", counted_put)
        patch.setattr(distill, "run", counted_distill)
        patch.setattr(PreviewProxy, "make", counted_make)
        summary, collection = run_locally(
            tiny_run(source, tmp_path / "out", matrix=ABLATION, execution={"shard_size": 2})
        )
    assert (summary.works, summary.items, summary.counts) == (3 * WORKS, 3, {"done": 3 * WORKS})
    keys = {stage: {w.keys[stage] for w in collection.works if stage in w.keys} for stage in STAGES}
    latents = keys["distill.real"] | keys["distill.proxy"]
    assert len(latents) == 3 * 2 * 3  # paths; two p and the static latents
    assert len(distilled) == len(latents)
    assert len(drawn) == len(keys["proxy"]) == 3
    assert max(Counter(made).values()) == 1  # nothing was written twice
    assert Counter(stage for stage, _ in made) == {
        "prepare": 3,
        "proxy": 3,
        "distill": len(latents),
        "animate": 3 * WORKS,
    }
    frames = frames_of(collection)
    assert len(set(frames.values())) > 3  # the cells do differ
    for variant in VARIANTS:
        for p in ABLATION["distill.p"]:
            alone = tiny_run(
                source,
                tmp_path / f"{variant}-{p}",
                variant=variant,
                distill={"p": p},
                execution={"batch_size": 1},
            )
            for (item, _), sha in frames_of(run_locally(alone)[1]).items():
                # The first of the cells that share a work has it.
                first = p if variant not in ("baseline", "S") else ABLATION["distill.p"][0]
                assert frames[item, f"variant={variant}, distill.p={first}"] == sha


STAGES = ("prepare", "proxy", "distill.real", "distill.proxy", "animate")


def test_records_name_cell_and_variant_and_the_manifest_the_present_cell(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 1)
    _, plain = run_locally(tiny_run(source, tmp_path / "out"))
    assert [(r["variant"], r["cell"]) for r in plain.results().to_pylist()] == [("V+S", None)]
    matrix = {"variant": ["V", "V+S"]}
    _, collection = run_locally(tiny_run(source, tmp_path / "out", matrix=matrix))
    found = collection.results().to_pylist()
    assert [(r["variant"], r["cell"]) for r in found] == [
        ("V", "variant=V"),
        ("V+S", "variant=V+S"),
    ]
    assert {r.variant: r.cell for r in collection.ledger.history(found[0]["item_id"])} == {
        "V+S": None,  # as it was when it was made
        "V": "variant=V",
    }
    back = Collection.open(tiny_run(source, tmp_path / "out"))
    assert [r["cell"] for r in back.results().to_pylist()] == [None]


def test_nothing_to_do_is_one_request(tmp_path: Path) -> None:
    run = tiny_run(write_paintings(tmp_path / "in", 2), tmp_path / "out", matrix=ABLATION)
    run_locally(run)
    again = Collection.open(run)
    again.store.counts.clear()
    assert again.finished_summary() is not None
    assert again.store.counts.total() == 1
    assert not again.plan.shards


def test_a_value_more_does_the_new_cells_only_and_one_less_keeps_files(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 2)
    _, first = run_locally(tiny_run(source, tmp_path / "out", matrix={"variant": ["V", "V+U"]}))
    before = frames_of(first)
    run = tiny_run(source, tmp_path / "out", matrix={"variant": ["V", "V+S", "V+U"]})
    collection = Collection.open(run)
    assert collection.plan.counts == {"done": 4, "new": 2}
    # What the other cells have made is there.
    assert {entry.stages for entry in collection.plan.pending} == {("animate", "encode", "measure")}
    objects = {info.path for info in collection.store.list("cache")}
    _, second = run_locally(run)
    fresh = {info.path for info in second.store.list("cache")} - objects
    assert {path.split("/")[1] for path in fresh} == {"animate"}
    assert before.items() <= frames_of(second).items()
    files = {info.path for info in second.store.list("videos")}
    _, third = run_locally(tiny_run(source, tmp_path / "out", matrix={"variant": ["V+S"]}))
    assert {cell for _, cell in frames_of(third)} == {"variant=V+S"}
    assert {info.path for info in third.store.list("videos")} == files


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        # A setting that all cells share has changed.
        (
            {"matrix": {"variant": ["V", "S"]}},
            {"matrix": {"variant": ["V", "S"]}, "encode": {"fps": 12}},
            {"changed: encode.fps 8 -> 12": 2},
        ),
        # ... together with the matrix: what is new is not a change.
        (
            {"matrix": {"variant": ["V", "S"]}},
            {"matrix": {"variant": ["V", "V+S"]}, "encode": {"fps": 12}},
            {"changed: encode.fps 8 -> 12": 1, "new": 1},
        ),
        # From a plain run to a matrix that holds it.
        ({}, {"matrix": {"variant": ["V", "V+S"]}}, {"done": 1, "new": 1}),
        (
            {},
            {"matrix": {"variant": ["V", "V+S"]}, "encode": {"fps": 12}},
            {"changed: encode.fps 8 -> 12": 1, "new": 1},
        ),
        # A further axis: the old cells are those at the value they had.
        (
            {"matrix": {"variant": ["V", "V+S"]}},
            {"matrix": {"variant": ["V", "V+S"], "distill.p": [0.6, 0.8]}},
            {"done": 2, "new": 2},
        ),
        # Without the matrix it is a change again, as ever.
        ({"variant": "V"}, {"variant": "S"}, {"changed: run.variant V -> S": 1}),
    ],
)
def test_reasons_with_several_works_to_an_item(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any], counts: dict[str, int]
) -> None:
    source = write_paintings(tmp_path / "in", 1)
    run_locally(tiny_run(source, tmp_path / "out", **before))
    assert Collection.open(tiny_run(source, tmp_path / "out", **after)).plan.counts == counts


def test_a_plan_counts_works_and_what_they_will_share_once(tmp_path: Path) -> None:
    run = tiny_run(write_paintings(tmp_path / "in", 4), tmp_path / "out", matrix=ABLATION)
    plan = Collection.open(run).plan
    assert (plan.total, plan.items, len(plan.pending)) == (4 * WORKS, 4, 4 * WORKS)
    stages = Counter(stage for entry in plan.pending for stage in entry.stages)
    assert (stages["prepare"], stages["proxy"]) == (4, 4)
    assert (stages["distill.real"], stages["distill.proxy"]) == (12, 12)
    assert stages["animate"] == stages["measure"] == 4 * WORKS
    assert [len(ids) for ids in plan.examples.values()] == [4]


def test_shards_hold_whole_paintings_and_do_not_move_with_the_matrix(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 20)

    def shards(**matrix: list[Any]) -> dict[str, set[str]]:
        run = tiny_run(
            source, tmp_path / "out", matrix=matrix, execution={"shard_size": 4, "device": "cpu"}
        )
        plan = Collection.open(run).plan
        return {
            str(name): {entry.work.item_id for entry in works}
            for name, works in plan.shards.items()
        }

    assert shards() == shards(variant=VARIANTS) == shards(**ABLATION)


def test_a_bad_painting_fails_in_every_cell_and_is_mended_in_all(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 2)
    (source / "work-0001.png").write_bytes(b"no picture")
    run = tiny_run(source, tmp_path / "out", matrix={"variant": VARIANTS})
    summary, _ = run_locally(run)
    assert summary.counts == {"done": 5, "failed": 5}
    assert summary.codes == {"decode_failed": 5}
    painting(1).save(source / "work-0001.png")
    assert run_locally(run)[0].counts == {"done": 10}


def test_an_interrupted_matrix_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_paintings(tmp_path / "in", 3)
    run = tiny_run(source, tmp_path / "out", matrix={"variant": VARIANTS})
    whole, cells = animate_pass.run, []

    def stops_at_the_third_cell(shard: Any) -> None:
        cells.append(shard.cell)
        if len(cells) == 3:
            raise KeyboardInterrupt
        whole(shard)

    with monkeypatch.context() as patch:
        patch.setattr(animate_pass, "run", stops_at_the_third_cell)
        with pytest.raises(KeyboardInterrupt):
            run_locally(run)
    assert cells == ["variant=baseline", "variant=V", "variant=S"]
    again = Collection.open(run)
    assert again.plan.counts == {"done": 6, "new": 9}
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 15}
    assert len(collection.store.list("videos")) == 15 * 3  # one result each
    assert collection.store.list("records") == []


def test_a_fault_of_no_painting_stops_a_matrix_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import measure

    def broken(*args: Any) -> None:
        raise TypeError("a mistake in the code")

    monkeypatch.setattr(measure, "run", broken)
    # Twenty in a row: no cell has as many, all together do.
    run = tiny_run(
        write_paintings(tmp_path / "in", 5), tmp_path / "out", matrix={"variant": VARIANTS}
    )
    with pytest.raises(RepeatedFault):
        run_locally(run)
