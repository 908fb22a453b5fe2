"""epa verify, gc, rebuild, why, retry and status on real collections, harmed for real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Answer
from fabricated import age
from local_runner import run_locally
from paintings import TINY, painting, tiny_run, write_paintings

from catalogs import crashes, paths
from catalogs.leases import Leases
from catalogs.records import Record
from catalogs.store_local import LocalStore
from tasks import animate_pass
from tasks.collection import Collection
from tasks.config import RunConfig
from tasks.runfile import load_run_file

Epa = Callable[..., Answer]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished collection of three works and a failure; not to be changed."""
    root = tmp_path_factory.mktemp("maintenance")
    source = write_paintings(root / "in", 4)
    (source / "work-0001.png").write_bytes(b"no picture")
    run_locally(tiny_run(source, root / "out"))
    tree = {**TINY, "catalog": "../in", "output": "."}
    (root / "out/run.yaml").write_text(yaml.safe_dump(tree))
    return root


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy/out"


def opened(out: Path) -> RunConfig:
    return load_run_file(str(out / "run.yaml"))


def again(out: Path) -> tuple[dict[str, int], list[str]]:
    """Run once more; counts by status, and the ids of the works that were computed."""
    computed: list[str] = []
    compute = animate_pass.compute_batch

    def traced(shard: Any, entries: Any) -> Any:
        computed.extend(entry.job.work.item_id for entry in entries if "animate" in _made(entry))
        return compute(shard, entries)

    animate_pass.compute_batch = traced
    try:
        summary, _ = run_locally(opened(out))
    finally:
        animate_pass.compute_batch = compute
    return summary.counts, computed


def _made(entry: Any) -> set[str]:
    """Stages that are to be computed: all but those the cache has."""
    return set(entry.job.work.keys) - set(entry.latents)


class TestVerify:
    """What is missing or damaged is said, and made again."""

    def test_an_unharmed_collection(self, epa: Epa, finished: Path) -> None:
        answer = epa("verify", finished / "out", "--deep")
        assert answer.code == 0
        assert "4 works: 3 done, 1 failed." in answer.out
        assert "3 results, 9 files" in answer.out
        assert "All of it is as recorded." in answer.out

    def test_a_video_deleted_by_hand_is_noticed_and_only_encoded_again(
        self, epa: Epa, out: Path
    ) -> None:
        video = sorted((out / "videos").rglob("video.mp4"))[0]
        data = video.read_bytes()
        video.unlink()
        assert epa("plan", out).out.count("file lost") == 0
        seen = epa("verify", out)
        assert seen.code == 1
        assert str(video.relative_to(out)) in seen.out
        assert f"epa verify {out} --redo" in seen.out
        facts = json.loads(epa("verify", out, "--redo", "--json").out)
        assert (facts["counts"], facts["redo"]) == ({"missing": 1}, 1)
        assert json.loads(epa("plan", out, "--json").out)["counts"]["file lost"] == 1
        assert json.loads(epa("status", out, "--json").out)["codes"]["file_lost"] == 1
        counts, computed = again(out)
        assert (counts, computed) == ({"done": 3, "failed": 1}, [])
        assert video.read_bytes() == data
        assert epa("verify", out, "--deep", "--all").code == 0

    def test_without_the_cache_the_whole_work_is_done_again(self, epa: Epa, out: Path) -> None:
        video = sorted((out / "videos").rglob("video.mp4"))[0]
        data = video.read_bytes()
        video.write_bytes(data[:-100])
        shutil.rmtree(out / "cache")
        assert epa("verify", out, "--redo").code == 1
        counts, computed = again(out)
        assert counts == {"done": 3, "failed": 1}
        assert len(computed) == 1
        assert video.read_bytes() == data

    def test_a_flipped_byte_is_found_by_reading(self, epa: Epa, out: Path) -> None:
        poster = sorted((out / "videos").rglob("poster.jpg"))[1]
        data = bytearray(poster.read_bytes())
        data[-9] ^= 4
        poster.write_bytes(bytes(data))
        assert epa("verify", out).code == 0
        facts = json.loads(epa("verify", out, "--deep", "--json", "--redo").out)
        assert facts["findings"][0]["kind"] == "content"
        assert again(out)[0] == {"done": 3, "failed": 1}
        assert epa("verify", out, "--deep").code == 0

    def test_the_gallery_and_manifest_do_not_show_what_is_lost(self, epa: Epa, out: Path) -> None:
        next((out / "videos").rglob("video.mp4")).unlink()
        epa("verify", out, "--redo")
        rows = [
            json.loads(line)
            for line in epa("manifest", out, "--format", "json").out.split("\n")
            if line
        ]
        assert sorted((row["status"], row["code"] or "", len(row["outputs"])) for row in rows) == [
            ("done", "", 3),
            ("done", "", 3),
            ("failed", "decode_failed", 0),
            ("failed", "file_lost", 0),
        ]
        assert epa("gallery", out).code == 0

    def test_a_damaged_part_names_the_command_that_mends_it(self, epa: Epa, out: Path) -> None:
        part = next((out / "manifest/parts").iterdir())
        part.write_bytes(part.read_bytes()[:100])
        for command in (["status"], ["plan"], ["gallery"], ["gc"], ["why"], ["retry"]):
            answer = epa(*command, out, *(["work-0001.png"] if command == ["why"] else []))
            assert (answer.code, answer.err.count("\n")) == (1, 1), command
            assert part.name in answer.err
            assert f"epa rebuild {out}" in answer.err
        seen = epa("verify", out)
        assert seen.code == 1
        assert f"epa rebuild {out}" in seen.out
        assert epa("rebuild", out).code == 0
        assert epa("verify", out, "--deep").code == 0

    def test_a_damaged_seal_names_it_too(self, epa: Epa, out: Path) -> None:
        seal = next((out / "seals").rglob("ALL.json"))
        seal.write_bytes(b"{")
        answer = epa("run", out / "run.yaml")
        assert (answer.code, f"epa rebuild {out}" in answer.err) == (1, True)
        assert epa("verify", out).code == 1
        assert epa("rebuild", out).code == 0
        assert epa("verify", out).code == 0
        assert again(out) == ({"done": 3, "failed": 1}, [])


class TestGc:
    """Nothing that is needed goes; a dry run unless asked."""

    def test_a_dry_run_and_a_removal(self, epa: Epa, out: Path) -> None:
        stray = out / paths.output("storm", "a" * 32, "b" * 32, "video.mp4")
        stray.parent.mkdir(parents=True)
        stray.write_bytes(b"x" * 5000)
        assert "nothing to remove" in epa("gc", out).out
        shutil.rmtree(out / "seals")  # of the place it was copied from, which is another plan
        age(LocalStore(out), 8)
        answer = epa("gc", out)
        assert answer.code == 0
        assert "1 objects may go, 4.9 KiB" in answer.out
        assert f"epa gc {out} --delete" in answer.out
        assert stray.exists()
        facts = json.loads(epa("gc", out, "--delete", "--json").out)
        assert facts["kinds"] == {"videos": {"objects": 1, "bytes": 5000}}
        assert not stray.exists()
        assert epa("verify", out, "--deep").code == 0

    def test_the_cache_of_settings_that_are_no_more(self, epa: Epa, out: Path) -> None:
        before = {path for path in (out / "cache").rglob("*") if path.is_file()}
        tree = yaml.safe_load((out / "run.yaml").read_text())
        (out / "run.yaml").write_text(yaml.safe_dump({**tree, "seed": 7}))
        run_locally(opened(out))
        added = {path for path in (out / "cache").rglob("*") if path.is_file()} - before
        assert added
        assert epa("gc", out, "--older-than", "-1").code == 2
        age(LocalStore(out), 1)
        epa("gc", out, "--older-than", "0.5", "--delete")
        left = {path for path in (out / "cache").rglob("*") if path.is_file()}
        prepared = {path for path in before if "prepare" in path.parts}
        assert left == added | prepared  # the prepared picture does not depend on the seed
        # The videos of the earlier seed are recorded, and stay.
        assert epa("verify", out, "--all", "--deep").code == 0
        assert again(out) == ({"done": 3, "failed": 1}, [])


class TestRebuild:
    """The manifest from the objects alone."""

    def test_everything_but_the_videos_is_gone(self, epa: Epa, out: Path) -> None:
        for name in ("manifest", "seals", "cache", "gallery", "index.html"):
            path = out / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        answer = epa("rebuild", out)
        assert answer.code == 0
        assert "3 results were recorded from their files." in answer.out
        assert "Not to be had from files: failures, timings" in answer.out
        assert "3 done, 1 new" in answer.out
        assert (out / "index.html").exists()
        assert epa("verify", out, "--deep").code == 0
        counts, computed = again(out)
        assert (counts, computed) == ({"done": 3, "failed": 1}, [])

    def test_in_json(self, epa: Epa, out: Path) -> None:
        shutil.rmtree(out / "manifest")
        shutil.rmtree(next((out / "videos").iterdir()) / "nothing", ignore_errors=True)
        next((out / "videos").rglob("poster.jpg")).unlink()
        facts = json.loads(epa("rebuild", out, "--json").out)
        assert (facts["written"], len(facts["left_out"])) == (2, 1)
        assert facts["plan"] == {"done": 2, "new": 2}


class TestWhy:
    """One work's story."""

    def test_what_changed_with_old_and_new_value(self, epa: Epa, out: Path) -> None:
        tree = yaml.safe_load((out / "run.yaml").read_text())
        (out / "run.yaml").write_text(yaml.safe_dump({**tree, "encode": {"fps": 12}}))
        lines = epa("why", out, "work-0002.png").out.splitlines()
        assert lines[1].startswith("now: changed: encode.fps 8 -> 12")
        assert lines[2] == "  differs from the last result, from stage encode on"
        assert lines[3] == "    encode.fps: 8 -> 12"
        video = lines[4].removeprefix("    its video: ")
        assert Path(video).is_file()

    def test_an_error_and_what_to_do(self, epa: Epa, out: Path) -> None:
        text = epa("why", out, "work 1").out
        assert "last error in prepare [decode_failed]" in text
        assert "it is not tried again by itself" in text
        assert "epa retry" in text
        epa("retry", out, "--no-run")
        assert "which is attempt 2 of the next run" in epa("why", out, "work 1").out

    def test_deaths_and_works_in_flight(self, epa: Epa, out: Path) -> None:
        collection = Collection.open(opened(out))
        work = next(
            w
            for w, r in zip(collection.works, collection.plan.reasons, strict=True)
            if r == "failed"
        )
        for death in ("one", "two"):
            crashes.attribute(collection.store, death, {work.key: work.item_id})
        lease = Leases(collection.store, collection.plan_key, 600).acquire("s01")
        assert lease is not None
        lease.name({work.key: work.item_id})
        text = epa("why", out, work.item_id).out
        assert "2 workers died while it was in flight; it is done alone" in text
        assert f":{os.getpid()} is working on it, in shard s01" in text
        shown = epa("status", out).out
        assert f"shard s01: {os.uname().nodename}:{os.getpid()} is at work" in shown
        facts = json.loads(epa("status", out, "--json").out)
        assert facts["at_work"][0]["in_flight"] == [work.item_id]
        lease.release()
        assert "at_work" not in json.loads(epa("status", out, "--json").out)
        epa("retry", out, "--no-run")
        assert crashes.counts(collection.store) == {}

    def test_a_lost_file_is_told(self, epa: Epa, out: Path) -> None:
        video = next((out / "videos").rglob("video.mp4"))
        video.unlink()
        epa("verify", out, "--redo")
        item = next(
            row for row in json.loads(epa("plan", out, "--json").out)["examples"]["file lost"]
        )
        text = epa("why", out, item).out
        assert "now: file lost" in text
        assert "the next run makes it again, as attempt 2" in text
        assert "video:" not in text
        assert "a file of it is lost since" in text

    def test_names_and_parts_of_names(self, epa: Epa, finished: Path) -> None:
        out = finished / "out"
        exact = epa("why", out, "work-0002.png").out
        for named in ("WORK 2", "0002", "Work-0002", " work-0002.PNG "):
            assert epa("why", out, named).out == exact
        several = epa("why", out, "work")
        assert several.code == 2
        assert "'work' fits 4 works" in several.err
        assert several.err.count("file:") == 4
        near = epa("why", out, "wrk-0002.png")
        assert (near.code, "did you mean 'work-0002.png'?" in near.err) == (2, True)
        assert epa("why", out, "").code == 2


class TestRetry:
    """Codes are known, quarantined works are taken up."""

    def test_an_unknown_code_names_the_nearest(self, epa: Epa, finished: Path) -> None:
        answer = epa("retry", finished / "out", "--reason", "worker_kiled", "--no-run")
        assert answer.code == 2
        assert answer.err.strip().endswith("did you mean worker_killed?")

    def test_a_known_code_that_no_work_has(self, epa: Epa, finished: Path) -> None:
        answer = epa("retry", finished / "out", "--reason", "cuda_oom", "--no-run")
        assert (answer.code, "no failed work" in answer.err) == (2, True)

    def test_a_quarantined_work_is_taken_up_and_its_deaths_forgotten(
        self, epa: Epa, tmp_path: Path
    ) -> None:
        source = write_paintings(tmp_path / "in", 1)
        collection = Collection.open(tiny_run(source, tmp_path / "out"))
        store, work = collection.store, collection.works[0]
        (tmp_path / "out").mkdir(exist_ok=True)
        tree = {**TINY, "catalog": "../in", "output": "."}
        (tmp_path / "out/run.yaml").write_text(yaml.safe_dump(tree))
        row = Record(
            item_id=work.item_id,
            shard_id="s",
            key=work.key,
            keys=dict(work.keys),
            status="quarantined",
            code="worker_killed",
            message="3 workers died",
            crash_count=3,
        )
        store.put(row.path, row.to_bytes())
        for death in ("one", "two", "three"):
            crashes.attribute(store, death, {work.key: work.item_id})
        shown = epa("status", tmp_path / "out").out
        assert "1 quarantined: worker_killed" in shown
        text = epa("why", tmp_path / "out", work.item_id).out
        assert "now: quarantined" in text
        assert "[worker_killed]: 3 workers died" in text
        answer = epa("retry", tmp_path / "out", "--reason", "worker_killed", "--no-run")
        assert "1 works are to be tried again" in answer.out
        assert crashes.counts(store) == {}
        assert again(tmp_path / "out")[0] == {"done": 1}


def test_a_source_mended_by_hand_needs_no_word_of_the_manifest(epa: Epa, out: Path) -> None:
    painting(1).save(out.parent / "in/work-0001.png")
    epa("retry", out, "--no-run")
    assert again(out)[0]["done"] == 4
    assert epa("verify", out, "--deep").code == 0


@pytest.mark.parametrize("command", ["verify", "gc", "rebuild", "why"])
def test_looking_after_a_collection_needs_neither_prefect_nor_torch(
    out: Path, command: str
) -> None:
    words = ["epa", command, str(out), *(["work-0000.png"] if command == "why" else [])]
    code = (
        f"import sys; sys.argv={words!r}\n"
        "from flows.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'prefect', 'diffusers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
