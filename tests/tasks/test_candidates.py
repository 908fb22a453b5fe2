"""Several seeds for a work: the best is kept, flagged works get further ones, and who wins is sure.

The preview moves as its prompt says whatever its seed, so where seeds must matter a tiny neural
pipeline runs, and where a candidate must be still or broken, that is done to its latents.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from failing_works import no_memory
from local_runner import run_locally
from paintings import tiny_run, write_paintings, write_run_file
from tiny_pipelines import build
from weighted_preview import plant

from catalogs.choice import tried_text
from epa_core import awakening
from epa_core.media.video import frames_sha256
from epa_core.metrics.quality import Quality
from tasks import animate, measure, models, select
from tasks.collection import Collection
from tasks.compute import model_for, stored
from tasks.in_flight import InFlight
from tasks.intermediates import latents_and_fact, latents_from_bytes
from tasks.rebuild import rebuild
from tasks.shard import load_painting

torch.set_num_threads(1)
SUPPORT = Path(__file__).parents[1] / "support"
Rows = dict[str, dict[str, Any]]


@pytest.fixture(autouse=True)
def _own_models() -> Any:
    yield
    models.release()


def rows_of(collection: Collection) -> Rows:
    """Title -> manifest row, with what was tried as plain data."""
    rows = {row["title"]: row for row in collection.results().to_pylist()}
    return {
        title: row | {"tried": json.loads(row["candidates_tried"] or "[]")}
        for title, row in sorted(rows.items())
    }


def outcome(rows: Rows) -> dict[str, tuple[Any, ...]]:
    names = ("frames_sha256", "seed", "candidate", "candidates", "candidates_tried", "flag")
    return {title: tuple(row[name] for name in names) for title, row in rows.items()}


Meddle = Callable[[list[int], list[torch.Tensor]], Iterable[torch.Tensor]]


@pytest.fixture
def meddled(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[int]]]:
    """Changes what animations come out as; gives back the seeds of every call, as they come."""

    def install(meddle: Meddle = lambda seeds, latents: latents) -> list[list[int]]:
        plain, calls = awakening.animate_latents, []

        def changed(pipeline: Any, images: Any, prompts: Any, seeds: Any, *rest: Any, **own: Any):
            calls.append(list(seeds))
            return list(meddle(seeds, plain(pipeline, images, prompts, seeds, *rest, **own)))

        monkeypatch.setattr(awakening, "animate_latents", changed)
        return calls

    return install


def still(seeds: Iterable[int]) -> Meddle:
    """The preview's clips of these seeds stand still."""
    chosen = set(seeds)

    def meddle(given: list[int], latents: list[torch.Tensor]) -> Iterable[torch.Tensor]:
        for seed, clip in zip(given, latents, strict=True):
            yield clip[:, :1].expand_as(clip).clone() if seed in chosen else clip

    return meddle


def broken(seeds: Iterable[int]) -> Meddle:
    """The clips of these seeds are no numbers."""
    chosen = set(seeds)

    def meddle(given: list[int], latents: list[torch.Tensor]) -> Iterable[torch.Tensor]:
        for seed, clip in zip(given, latents, strict=True):
            yield clip * float("nan") if seed in chosen else clip

    return meddle


def seeds_of(run: Any, count: int) -> list[list[int]]:
    """Of every work in the order of titles: the seeds of its candidates."""
    collection = Collection.open(run)
    order = sorted(collection.works, key=lambda work: collection.rows([work])[0]["title"])
    rows = collection.rows(order)
    return [[collection.chains[0].seed(row, "animate", n) for n in range(count)] for row in rows]


# -- who wins


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("svd") / "weights"
    build("svd").pipeline.save_pretrained(folder)
    return folder


def by_hand(run: Any, count: int) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """Title -> SHA-256 of the frames and measures of every candidate, by the stages alone."""
    collection, found = Collection.open(run), {}
    [name] = collection.plan.shards
    [shard] = collection.shards(name)
    for job in shard.jobs:
        source = load_painting(shard, job, {})
        model = model_for(shard, source.painting.size)
        paths = {
            stage: [latents_from_bytes(shard.cache.get("distill", key, "safetensors") or b"")]
            for stage, key in job.work.keys.items()
            if stage.startswith("distill")
        }
        results = []
        for number in range(count):
            seed = collection.chains[0].seed(job.row, "animate", number)
            [latents] = animate.run(
                model.pipeline,
                [source.painting],
                [job.prompt],
                [seed],
                paths.get("distill.real"),
                paths.get("distill.proxy"),
                model.settings,
                model.call,
                [{}],
            )
            rounded = stored(shard, latents).float()  # as every video is made
            [frames] = awakening.decode_latents(model.pipeline, [rounded], model.call)
            quality = asdict(measure.run(frames, source.painting))
            results.append((frames_sha256(frames), quality))
        found[str(job.row["title"])] = results
    return found


@pytest.mark.slow
def test_the_best_by_the_rule_is_recorded_and_agrees_with_all_measured_by_hand(
    weights: Path, tmp_path: Path
) -> None:
    how: dict[str, Any] = {
        "model": {"name": "svd", "source": str(weights), "num_frames": 4, "dtype": "float32"},
        "prepare": {"area": 1024, "multiple": 32},
        "variant": "S",
        "distill": {"num_inference_steps": 2},
        "animate": {"num_inference_steps": 2},
    }
    source = write_paintings(tmp_path / "in", 2, width=32, height=32)
    _, plain = run_locally(tiny_run(source, tmp_path / "plain", **how))
    rules = {"select": {"candidates": 3}, "matrix": {"select.rule": ["balanced", "motion"]}}
    _, chosen = run_locally(tiny_run(source, tmp_path / "several", **how, **rules))
    again = tiny_run(source, tmp_path / "several", **{**how, "encode": {"fps": 3}})
    hand = by_hand(again, 3)
    winners = set()
    found = chosen.results().to_pylist()
    assert len(found) == 4
    for row in found:
        title, rule = row["title"], row["cell"].removeprefix("select.rule=")
        row["tried"] = json.loads(row["candidates_tried"])
        scores = {}
        for number, (_, measures) in enumerate(hand[title]):
            said = row["tried"][number]
            assert said["flag"] == measures["flag"]
            for name, value in said["measures"].items():
                assert value == pytest.approx(measures[name], rel=1e-4), name
            score = select.score(Quality(**measures), rule)
            assert said["score"] == pytest.approx(score, abs=2e-6)
            scores[number] = (measures["flag"] == "good", score)
        best = max(scores, key=lambda number: scores[number])
        assert (row["candidate"], row["candidates"]) == (best, 3)
        assert row["candidate_score"] == row["tried"][best]["score"]
        assert row["frames_sha256"] == hand[title][best][0]
        assert row["motion"] == pytest.approx(hand[title][best][1]["motion"])
        assert row["seed"] == row["tried"][best]["seed"]
        # Candidate 0 is the video of a work without candidates.
        assert rows_of(plain)[title]["frames_sha256"] == hand[title][0][0]
        assert rows_of(plain)[title]["seed"] == row["tried"][0]["seed"]
        winners.add(best)
    assert len({sha for results in hand.values() for sha, _ in results}) == 6
    assert len(winners) > 1, "the case shows little: one candidate always wins"


def test_a_candidate_is_the_same_video_for_any_number_and_batch(
    tmp_path: Path, meddled: Callable[..., list[list[int]]]
) -> None:
    source = write_paintings(tmp_path / "in", 3)
    found = {}
    for candidates, batch in ((1, 1), (2, 1), (5, 1), (5, 2), (5, 4)):
        calls = meddled()
        run = tiny_run(
            source,
            tmp_path / f"{candidates}-{batch}",
            select={"candidates": candidates},
            execution={"batch_size": batch},
        )
        summary, collection = run_locally(run)
        assert summary.counts == {"done": 3}, summary.codes
        assert max(map(len, calls)) == batch
        assert sum(map(len, calls)) == 3 * candidates
        found[candidates, batch] = rows_of(collection)
    assert outcome(found[5, 1]) == outcome(found[5, 2]) == outcome(found[5, 4])
    for title, row in found[5, 1].items():
        assert len({one["seed"] for one in row["tried"]}) == 5
        assert row["tried"][:2] == found[2, 1][title]["tried"]
        first = found[1, 1][title]
        assert (first["seed"], first["candidates"]) == (row["tried"][0]["seed"], None)
        assert first["flag"] == row["tried"][0]["flag"]


def test_paths_are_distilled_once_for_all_candidates_and_all_are_paid_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distilled: list[int] = []
    plain = awakening.distill_latents

    def counted(pipeline: Any, images: Any, *rest: Any, **own: Any) -> Any:
        distilled.append(len(images))
        return plain(pipeline, images, *rest, **own)

    monkeypatch.setattr(awakening, "distill_latents", counted)
    source = write_paintings(tmp_path / "in", 2)
    seconds = []
    for number in (1, 8):
        run = tiny_run(source, tmp_path / f"out{number}", select={"candidates": number})
        _, collection = run_locally(run)
        seconds.append(sum(row["t_animate"] for row in rows_of(collection).values()))
        assert distilled == [2, 2]
        distilled.clear()
        medians = collection.ledger.seconds()
    assert seconds[1] > 3 * seconds[0]
    # The plan takes what is recorded for what it is: eight seeds.
    assert medians["t_animate"] < seconds[1] / 8
    twice = Collection.open(tiny_run(source, tmp_path / "out8", seed=1, select={"candidates": 16}))
    once = Collection.open(tiny_run(source, tmp_path / "out8", seed=1, select={"candidates": 8}))
    more = (twice.plan.seconds_estimate or 0) - (once.plan.seconds_estimate or 0)
    assert more == pytest.approx(2 * 8 * medians["t_animate"])


# -- flagged works get further seeds


def test_a_still_work_gets_the_next_seed_and_keeps_it_where_it_is_better(
    tmp_path: Path, meddled: Callable[..., list[list[int]]]
) -> None:
    run = tiny_run(write_paintings(tmp_path / "in", 3), tmp_path / "out", select={"max_seeds": 4})
    seeds = seeds_of(run, 4)
    # The first moves at once, the second at its third seed, the third never.
    calls = meddled(still([*seeds[1][:2], *seeds[2]]))
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 3}
    one, two, three = rows_of(collection).values()
    assert (one["candidate"], one["candidates"], one["seed"]) == (0, 1, seeds[0][0])
    assert (two["candidate"], two["candidates"], two["seed"]) == (2, 3, seeds[1][2])
    assert [tried["flag"] for tried in two["tried"]] == ["static", "static", two["flag"]]
    assert two["flag"] != "static"
    assert (three["flag"], three["candidates"]) == ("static", 4)
    scores = [tried["score"] for tried in three["tried"]]
    assert three["candidate"] == scores.index(max(scores))
    assert sorted(seed for call in calls for seed in call) == sorted(
        [seeds[0][0], *seeds[1][:3], *seeds[2]]
    )


def test_only_the_flags_that_are_named_ask_for_another_seed(
    tmp_path: Path, meddled: Callable[..., list[list[int]]]
) -> None:
    source = write_paintings(tmp_path / "in", 1)
    how = {"max_seeds": 3, "candidates": 2, "flags": ["cross-fade", "drift", "flicker"]}
    run = tiny_run(source, tmp_path / "out", select=how)
    meddled(still(seeds_of(run, 3)[0]))
    [row] = rows_of(run_locally(run)[1]).values()
    assert (row["flag"], row["candidates"]) == ("static", 2)


def test_further_seeds_for_a_finished_collection_cost_only_the_flagged_works(
    tmp_path: Path, meddled: Callable[..., list[list[int]]]
) -> None:
    source, out = write_paintings(tmp_path / "in", 3), tmp_path / "out"
    more = tiny_run(source, out, select={"max_seeds": 2})
    seeds = seeds_of(more, 2)
    calls = meddled(still(seeds[1]))
    before = rows_of(run_locally(tiny_run(source, out))[1])
    assert len(calls) == 3
    planned = Collection.open(more).plan
    assert {work.stages for work in planned.pending} == {("select", "encode", "measure")}
    assert list(planned.counts) == ["changed: select.max_seeds null -> 2"]
    after = rows_of(run_locally(more)[1])
    assert calls[3:] == [[seeds[1][1]]]
    assert [row["candidates"] for row in after.values()] == [1, 2, 1]
    for title in ("Work 0", "Work 2"):
        assert after[title]["frames_sha256"] == before[title]["frames_sha256"]


# -- candidates that are no video


def test_a_candidate_without_numbers_drops_out(
    tmp_path: Path, meddled: Callable[..., list[list[int]]]
) -> None:
    source = write_paintings(tmp_path / "in", 3)
    how = {"select": {"candidates": 3}, "execution": {"batch_size": 2}}
    run = tiny_run(source, tmp_path / "out", **how)
    seeds = seeds_of(run, 3)
    meddled(broken([seeds[0][0], *seeds[1]]))
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 2, "failed": 1}
    one, two, three = rows_of(collection).values()
    assert one["tried"][0] == {"seed": seeds[0][0], "code": "numeric"}
    assert (one["candidate"] in (1, 2), one["candidates"]) == (True, 3)
    assert tried_text(one).startswith("0 numeric, 1 ")
    assert (two["code"], two["candidates"]) == ("numeric", None)
    assert two["message"].endswith("no numbers, with each of 3 seeds")
    assert three["status"] == "done"
    assert not one["strict_numerics"]


def test_where_no_candidate_has_numbers_all_go_again_in_float32(
    tmp_path: Path, meddled: Callable[..., list[list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    half = {**plant(monkeypatch, tmp_path / "weights"), "dtype": "float16", "num_frames": 4}
    source = write_paintings(tmp_path / "in", 1)
    run = tiny_run(source, tmp_path / "out", model=half, select={"candidates": 2})
    [seeds] = seeds_of(run, 2)
    calls: list[list[int]] = []

    def once(given: list[int], latents: list[torch.Tensor]) -> Iterable[torch.Tensor]:
        bad = seeds if sum(map(len, calls)) <= 2 else ()
        return broken(bad)(given, latents)

    calls = meddled(once)
    summary, collection = run_locally(run)
    [row] = rows_of(collection).values()
    assert summary.counts == {"done": 1}, summary.codes
    assert [seed for call in calls for seed in call] == seeds * 2
    assert (row["strict_numerics"], row["candidates"]) == (True, 2)
    # Keys say half precision: nothing of it is cached.
    assert not list(tmp_path.glob("out/cache/animate/**/*.safetensors"))


# -- memory, interrupts, the cache


def test_calls_that_do_not_fit_shrink_and_the_same_candidate_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_paintings(tmp_path / "in", 2)
    settings = {"select": {"candidates": 4}, "execution": {"batch_size": 4}}
    _, roomy = run_locally(tiny_run(source, tmp_path / "roomy", **settings))
    plain, sizes = awakening.animate_latents, []

    def small(pipeline: Any, images: Any, *rest: Any, **own: Any) -> Any:
        sizes.append(len(images))
        if len(images) > 2:
            raise no_memory()
        return plain(pipeline, images, *rest, **own)

    monkeypatch.setattr(awakening, "animate_latents", small)
    summary, tight = run_locally(tiny_run(source, tmp_path / "tight", **settings))
    assert summary.counts == {"done": 2}, summary.codes
    assert sizes == [4, 2, 2, 4, 2, 2]
    assert outcome(rows_of(tight)) == outcome(rows_of(roomy))
    assert {row["batch_size"] for row in rows_of(tight).values()} == {2}


def test_memory_does_not_decide_who_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate that does not fit alone fails its work, which the next run takes up again."""
    source = write_paintings(tmp_path / "in", 2)
    run = tiny_run(source, tmp_path / "out", select={"candidates": 3})
    [unlucky, _] = seeds_of(run, 3)
    plain, full, seen = awakening.animate_latents, [True], []

    def small(pipeline: Any, images: Any, prompts: Any, seeds: Any, *rest: Any, **own: Any) -> Any:
        seen.extend(seeds)
        if full[0] and unlucky[1] in seeds:
            raise no_memory()
        return plain(pipeline, images, prompts, seeds, *rest, **own)

    monkeypatch.setattr(awakening, "animate_latents", small)
    summary, _ = run_locally(run)
    assert summary.codes == {"host_oom": 1}
    assert unlucky[2] not in seen  # it could not be kept any more
    full[0] = False
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 2}
    assert {row["candidates"] for row in rows_of(collection).values()} == {3}


def test_a_work_of_many_candidates_is_not_taken_for_one_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meddled: Callable[..., list[list[int]]]
) -> None:
    begin, at_work, moved = InFlight.begin, [], []

    def begun(self: InFlight, job: Any) -> None:
        at_work.append(self)
        begin(self, job)

    def seen(seeds: list[int], latents: list[torch.Tensor]) -> list[torch.Tensor]:
        moved.append(at_work[-1].lease.moved)
        return latents

    monkeypatch.setattr(InFlight, "begin", begun)
    meddled(seen)
    source = write_paintings(tmp_path / "in", 1)
    run_locally(tiny_run(source, tmp_path / "out", select={"candidates": 4}))
    assert len(set(moved)) == 4
    assert moved == sorted(moved)


_KILLED = """
import os, signal, sys
sys.path[:0] = [{support!r}]
import torch
torch.set_num_threads(1)
from local_runner import run_locally
from epa_core import awakening
from tasks.runfile import load_run_file
plain, calls = awakening.animate_latents, []
def killed(*given, **own):
    calls.append(1)
    if len(calls) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(*given, **own)
awakening.animate_latents = killed
run_locally(load_run_file({file!r}))
"""


@pytest.mark.slow
def test_a_run_killed_between_candidates_ends_as_one_that_was_not(
    tmp_path: Path, meddled: Callable[..., list[list[int]]]
) -> None:
    settings: dict[str, Any] = {"select": {"candidates": 4}}
    file = write_run_file(tmp_path, 3, **settings)
    code = _KILLED.format(support=str(SUPPORT), file=str(file))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT.parents[1]), str(SUPPORT)])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    calls = meddled()
    run = tiny_run(tmp_path / "in", tmp_path / "out", **settings)
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 3}
    # One work was recorded or was being so, and the second lost the one candidate it had.
    assert len(calls) in (2 * 4, 3 * 4)
    _, whole = run_locally(tiny_run(tmp_path / "in", tmp_path / "whole", **settings))
    assert outcome(rows_of(collection)) == outcome(rows_of(whole))


def test_the_kept_candidate_is_cached_with_the_choice(
    tmp_path: Path, meddled: Callable[..., list[list[int]]]
) -> None:
    source, out = write_paintings(tmp_path / "in", 2), tmp_path / "out"
    settings: dict[str, Any] = {"select": {"candidates": 3}}
    first = rows_of(run_locally(tiny_run(source, out, **settings))[1])
    files = sorted(out.glob("cache/animate/**/*.safetensors"))
    assert len(files) == 2  # one for each work, however many candidates
    calls = meddled()
    faster = tiny_run(source, out, encode={"fps": 12}, **settings)
    assert outcome(rows_of(run_locally(faster)[1])) == outcome(first)
    assert calls == []
    # Damaged values and a damaged choice are noticed, and made again as they were.
    data = bytearray(files[0].read_bytes())
    data[-1] ^= 0x40
    files[0].write_bytes(data)
    text = files[1].read_bytes()
    files[1].write_bytes(text.replace(b"candidate", b"candidatf", 1))
    slower = tiny_run(source, out, encode={"fps": 6}, **settings)
    assert outcome(rows_of(run_locally(slower)[1])) == outcome(first)
    assert len(calls) == 2 * 3
    assert latents_and_fact(files[0].read_bytes())[1].startswith('{"candidate":')


def test_cells_of_a_matrix_share_the_first_candidate(
    tmp_path: Path, meddled: Callable[..., list[list[int]]]
) -> None:
    source = write_paintings(tmp_path / "in", 2)
    calls = meddled()
    run = tiny_run(source, tmp_path / "out", matrix={"select.candidates": [1, 3]})
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 4}
    assert len(calls) == 2 * 3
    found = {(r["title"], r["cell"]): r for r in collection.results().to_pylist()}
    for title in ("Work 0", "Work 1"):
        assert found[title, "select.candidates=1"]["candidates"] is None
        assert found[title, "select.candidates=3"]["candidates"] == 3
    assert not Collection.open(run).plan.shards


def test_one_stream_takes_the_next_seeds_of_the_run(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 2)
    how: dict[str, Any] = {"one_stream": True, "seed": 42, "select": {"candidates": 3}}
    for variant in ("V+S", "baseline"):
        run = tiny_run(source, tmp_path / variant, variant=variant, **how)
        for row in rows_of(run_locally(run)[1]).values():
            assert [one["seed"] for one in row["tried"]] == [42, 43, 44]
            assert row["seed"] == 42 + row["candidate"]


def test_a_rebuilt_row_does_not_guess_the_seed(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 1)
    run = tiny_run(source, tmp_path / "out", select={"candidates": 2})
    _, collection = run_locally(run)
    for folder in ("manifest", "records"):
        collection.store.delete(info.path for info in collection.store.list(folder))
    assert rebuild(Collection.open(run)).rows == 1
    [row] = rows_of(Collection.open(run)).values()
    assert (row["status"], row["seed"], row["candidates"]) == ("done", None, None)
