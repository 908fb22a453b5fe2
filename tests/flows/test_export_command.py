"""`epa export` on real small runs; what it makes opens in the libraries it is made for."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
import yaml
from command_line import Answer
from exports import FORMATS, tree
from local_runner import run_locally
from paintings import TINY, painting, tiny_run

Epa = Callable[..., Answer]
CELLS = ["variant=baseline", "variant=V+S"]
TITLES = ["Boats, in the wind", "Le jardin d'Éden", "the test of a train", "=1+1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four paintings under two variants, and one that is none; not to be changed."""
    root = tmp_path_factory.mktemp("made")
    source = root / "in"
    source.mkdir()
    lines = []
    for number, title in enumerate(TITLES):
        painting(number).save(source / f"{number}.png")
        split = "test" if number == 3 else "train"
        row = {"image": f"{number}.png", "title": title, "artist": "The Tester", "split": split}
        row |= {"prompt": "the water ripples", "license": "CC0", "year": 1870 + number}
        lines.append(json.dumps(row))
    (source / "bad.png").write_bytes(b"no picture")
    lines.append(json.dumps({"image": "bad.png", "title": "Bad", "split": "train", "prompt": "x"}))
    (source / "works.jsonl").write_text("\n".join(lines) + "\n")
    matrix = {"variant": ["baseline", "V+S"]}
    run_locally(tiny_run(source / "works.jsonl", root / "out", matrix=matrix, title="Four"))
    settings: dict[str, Any] = {"catalog": str(source / "works.jsonl"), "output": "."}
    settings |= {"matrix": matrix, "title": "Four"}
    (root / "out" / "run.yaml").write_text(yaml.safe_dump({**TINY, **settings}))
    return root / "out"


def frames_of(path: Path | str) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


# -- the libraries


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The library, with a cache of this test's own and without a network."""
    import datasets
    from datasets import config

    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert config.HF_HUB_OFFLINE
    datasets.disable_progress_bars()
    return datasets


def test_datasets_loads_a_videofolder(epa: Epa, made: Path, tmp_path: Path, datasets: Any) -> None:
    answer = epa("export", made, "--format", "videofolder", "-o", tmp_path / "d", "--posters")
    assert answer.code == 0, answer.err
    assert "8 of 8 works are in" in answer.out
    undecoded = datasets.Video(decode=False)
    # As a folder of videos, and as a repository of the hub, whose card says where they are.
    for place in (("videofolder", str(tmp_path / "d")), (str(tmp_path / "d"), None)):
        loaded = datasets.load_dataset(place[0], data_dir=place[1])
        assert {name: split.num_rows for name, split in loaded.items()} == {"train": 6, "test": 2}
        for split in loaded.values():
            assert isinstance(split.features["video"], datasets.Video)
            assert split.features["seed"].dtype == "int64"
            assert split.features["motion"].dtype == "float64"
            for row in split.cast_column("video", undecoded):
                path = row["video"]["path"]
                assert frames_of(path) == row["frames"] == 4
                assert Path(path).name == f"{row['key']}.mp4"
                assert (tmp_path / "d" / row["poster"]).is_file()
        told = {
            (row["title"], row["cell"])
            for s in loaded.values()
            for row in s.remove_columns("video")
        }
        assert told == {(title, cell) for title in TITLES for cell in CELLS}


def test_webdataset_loads_tars(epa: Epa, made: Path, tmp_path: Path, datasets: Any) -> None:
    import webdataset

    place = tmp_path / "w"
    answer = epa(
        "export", made, "--format", "webdataset", "-o", place, "--shard-works", 3, "--posters"
    )
    assert answer.code == 0, answer.err
    shards = str(place / "epa-{000000..000002}.tar")
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil"))
    assert len(samples) == len({sample["__key__"] for sample in samples}) == 8
    for sample in samples:
        told = sample["json"]
        assert told["key"] == sample["__key__"]
        assert len(sample["mp4"]) == told["bytes"]
        assert sample["jpg"].size == (told["width"], told["height"])
        (tmp_path / "v.mp4").write_bytes(sample["mp4"])
        assert frames_of(tmp_path / "v.mp4") == told["frames"]
    assert sorted(s["json"]["title"] for s in samples) == sorted(TITLES * 2)
    loaded = datasets.load_dataset(str(place))["train"]
    assert loaded.num_rows == 8
    assert sorted(row["title"] for row in loaded["json"]) == sorted(TITLES * 2)


def test_a_folder_for_people(epa: Epa, made: Path, tmp_path: Path) -> None:
    place = tmp_path / "f"
    answer = epa(
        "export", made, "--format", "folder", "-o", place, "--cell", CELLS[0], "--previews"
    )
    assert answer.code == 0, answer.err
    with (place / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["cell"] for row in rows} == {CELLS[0]}
    assert [row["title"] for row in rows].count("'=1+1") == 1
    for row in rows:
        title = row["title"].removeprefix("'=")
        shown = f"{title} ({row['id'].replace(':', '_')}, variant=baseline)"
        assert row["file_name"] == f"The Tester/{shown}.mp4"
        assert frames_of(place / row["file_name"]) == 4
        assert (place / "The Tester" / f"{shown}.webp").is_file()


# -- the command


def test_conditions(epa: Epa, made: Path, tmp_path: Path) -> None:
    where = "year >= 1871 AND variant = 'V+S' AND source_width = 40 AND year_begin < 1873"
    answer = epa("export", made, "--format", "folder", "-o", tmp_path / "f", "--where", where)
    assert answer.code == 0, answer.err
    assert "2 of 2 works" in answer.out
    titles = {re.sub(r" \(.*", "", path.name) for path in (tmp_path / "f").rglob("*.mp4")}
    assert titles == {TITLES[1], TITLES[2]}
    flags = {row["flag"] for row in manifest(epa, made)} - {None}
    flag = sorted(flags)[0]
    answer = epa("export", made, "--format", "folder", "-o", tmp_path / "f", "--flag", flag)
    assert answer.code == 0, answer.err
    expected = sum(row["flag"] == flag for row in manifest(epa, made))
    assert len(list((tmp_path / "f").rglob("*.mp4"))) == expected


def manifest(epa: Epa, made: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in epa("manifest", made, "--format", "json").out.splitlines()]


def test_both_states(epa: Epa, made: Path, tmp_path: Path) -> None:
    both = ("--status", "done", "--status", "failed")
    answer = epa("export", made, "--format", "folder", "-o", tmp_path / "f", *both)
    assert answer.code == 0
    assert "of the chosen works have no video" in answer.err
    assert "8 of 8 works" in answer.out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--format", "parquet"], "--format 'parquet': there is no such format; allowed are"),
        (["--format", "webdatset"], "did you mean webdataset?"),
        (["--format", "folder", "--where", "titel = 'x'"], "did you mean 'title'?"),
        (["--format", "folder", "--where", "year > 3000"], "selects none of the 8 works"),
        (["--format", "folder", "--flag", "fine"], "--flag 'fine': no chosen work has it"),
        (
            ["--format", "folder", "--cell", "p=1"],
            "there are variant=V+S (4), variant=baseline (4)",
        ),
        (["--format", "folder", "--status", "lost"], "--status 'lost': no chosen work has it"),
        (["--format", "folder", "--status", "failed"], "none of the"),
        (["--format", "folder", "--shard-works", "3"], "are for webdataset, not folder"),
        (["--format", "webdataset", "--shard-bytes", "10"], "from 1048576 to 4294967296"),
        (["--format", "webdataset", "--link"], "--link: a webdataset is made of tar files"),
        (["--format", "folder", "--link", "-o", "memory://a/b"], "must be folders of this machine"),
        (["--format", "folder", "-o", "{out}"], "the collection's own place"),
        (["--format", "folder", "-o", "{out}/.."], "the collection lies in it"),
        (["--format", "folder", "-o", "http://x/y"], "no object store"),
        (["--format", "folder", "-o", "s3://key:secret@b/x"], "credentials"),
    ],
)
def test_one_sentence_and_exit_code_two(
    epa: Epa, made: Path, tmp_path: Path, options: list[str], sentence: str
) -> None:
    place = [] if "-o" in options else ["-o", str(tmp_path / "x")]
    before = tree(made)
    answer = epa("export", made, *place, *(word.format(out=made) for word in options))
    assert answer.code == 2
    said = [line for line in answer.err.splitlines() if line]
    assert len(said) == 1, answer.err
    assert sentence in said[0]
    assert "secret" not in answer.err
    assert not (tmp_path / "x").exists()
    assert tree(made) == before


def test_no_collection(epa: Epa, tmp_path: Path) -> None:
    answer = epa("export", tmp_path / "no", "--format", "folder", "-o", tmp_path / "x")
    assert answer.code == 2
    assert "this is no collection" in answer.err


@pytest.mark.parametrize("form", FORMATS)
def test_damage_is_named_and_gives_exit_code_one(
    epa: Epa, made: Path, tmp_path: Path, form: str
) -> None:
    out = tmp_path / "out"
    shutil.copytree(made, out)
    video = sorted(out.rglob("video.mp4"))[0]
    video.write_bytes(video.read_bytes()[:-1] + b"x")
    answer = epa("export", out, "--format", form, "-o", out / "exports" / form)
    assert answer.code == 1
    assert "7 of 8 works are in" in answer.out
    assert video.relative_to(out).as_posix() in answer.err.replace("\n", "")
    assert "--deep --redo" in answer.err
    # An export within the collection is none of its own files.
    assert epa("gc", out, "--delete", "--older-than", 0).code == 0
    assert (out / "exports" / form / "epa-export.json").is_file()
