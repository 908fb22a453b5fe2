"""The flows `maintenance` and `evaluate`, as a schedule calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from paintings import tiny_run, write_paintings
from prefect import flow
from prefect.artifacts import Artifact

from flows.animate_collection import animate_collection
from flows.animate_shard import animate_shard
from flows.artifacts import publish_table, shown
from flows.evaluate import evaluate
from flows.maintain import maintenance
from tasks.collection import Collection
from tasks.config import RunConfig

pytestmark = pytest.mark.usefixtures("prefect_home")


@pytest.fixture
def made(tmp_path: Path) -> RunConfig:
    """A finished collection of three works."""
    run = tiny_run(write_paintings(tmp_path / "in", 3), tmp_path / "out", title="looked after")
    animate_collection(run)
    return run


def table(key: str) -> list[dict[str, Any]]:
    artifact = Artifact.get(key)
    assert artifact is not None
    rows: list[dict[str, Any]] = json.loads(artifact.data)
    return rows


def test_a_whole_collection_is_as_recorded(made: RunConfig) -> None:
    facts = maintenance(made.output, deep=True)
    assert facts["verified"]["works"] == 3
    assert facts["verified"]["deep"]
    assert facts["verified"]["findings"] == []
    assert table("epa-maintenance")[0]["objects"] == facts["verified"]["files"] == 9


def test_what_is_lost_fails_the_run_until_it_is_made_again(made: RunConfig) -> None:
    next(Path(made.output).glob("videos/*/*/video.mp4")).unlink()
    state = maintenance(made.output, return_state=True)
    assert state.is_failed()
    assert "1 files missing" in state.message
    assert table("epa-maintenance")[1]["what"] == "files missing"
    facts = maintenance(made.output, redo=True)
    assert facts["redo"] == 1
    animate_collection(made)
    assert maintenance(made.output)["verified"]["findings"] == []


def test_garbage_goes_only_when_asked(made: RunConfig) -> None:
    stray = Path(made.output) / "videos" / "stray" / "0123456789ab-0123456789ab" / "video.mp4"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"nobody's")
    facts = maintenance(made.output, older_than=0)
    assert not facts["garbage"]["deleted"]
    assert stray.exists()
    assert any(str(row["what"]).startswith("may go") for row in table("epa-maintenance"))
    assert maintenance(made.output, older_than=0, delete=True)["garbage"]["deleted"]
    assert not stray.exists()


def test_measures_are_summed_up_by_style_and_model(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 4)
    lines = (source / "metadata.csv").read_text().splitlines()
    styles = ["style", "Realism", "Realism", "Cubism", "Realism"]
    texts = [f"{line},{style}" for line, style in zip(lines, styles, strict=True)]
    (source / "metadata.csv").write_text("\n".join(texts))
    run = tiny_run(source, tmp_path / "out")
    animate_collection(run)
    rows = evaluate(run.output)
    assert [(row["style"], row["model"], row["works"]) for row in rows] == [
        ("Realism", "preview", 3),
        ("Cubism", "preview", 1),
    ]
    flags = ("good", "static", "cross_fade", "drift", "flicker", "unmeasured")
    assert all(sum(row[flag] for flag in flags) == row["works"] for row in rows)
    assert all(0 < row["first_frame_ssim"] <= 1 for row in rows)
    assert table("epa-measures") == rows


def test_texts_of_the_catalog_stay_texts_on_prefects_pages() -> None:
    style = "![x](https://evil.example/x.png) <img src=x> www.evil.example a*b_c"

    @flow
    def hostile() -> None:
        with shown():
            publish_table("epa-hostile", [{"style": style, "works": 3}], "hostile")

    hostile()
    [row] = table("epa-hostile")
    assert row["works"] == 3
    escaped = r"\!\[x\](https\://evil.example/x.png) \<img src=x\> www\.evil.example a*b_c"
    assert row["style"] == escaped


def test_a_shard_is_a_flow_run_of_its_own(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 6)
    run = tiny_run(source, tmp_path / "out", execution={"shard_size": 3})
    shards = [str(name) for name in Collection.open(run).plan.shards]
    assert len(shards) >= 2
    done = [animate_shard(run, shard)["done"] for shard in shards]
    assert sum(done) == 6
    assert Collection.open(run).plan.counts == {"done": 6}
