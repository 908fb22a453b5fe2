"""The command line and the flow with a matrix and with a preset."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from command_line import Answer
from local_runner import run_locally
from paintings import TINY, tiny_run, write_paintings

VARIANTS = ["baseline", "V", "V+S"]
Epa = Callable[..., Answer]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three paintings, one of them broken, under two values of p; not to be changed."""
    root = tmp_path_factory.mktemp("collection")
    source = write_paintings(root / "in", 3)
    (source / "work-0001.png").write_bytes(b"no picture")
    matrix = {"variant": VARIANTS, "distill.p": [0.4, 0.8]}
    run_locally(tiny_run(source, root / "out", matrix=matrix))
    tree = {**TINY, "catalog": str(source), "output": ".", "matrix": matrix}
    (root / "out" / "run.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    return root / "out"


def test_status_counts_works_by_cell(epa: Epa, collection: Path) -> None:
    facts = json.loads(epa("status", collection, "--json")[1])
    assert (facts["works"], facts["items"]) == (15, 3)
    assert facts["states"] == {"done": 10, "failed": 5, "pending": 0}
    cells = facts["cells"]
    assert list(cells) == [f"variant={v}, distill.p={p}" for v in VARIANTS for p in (0.4, 0.8)]
    # The baseline knows nothing of p: the first cell has the work of both.
    assert cells.pop("variant=baseline, distill.p=0.8") == {}
    assert all(states == {"done": 2, "failed": 1} for states in cells.values())
    shown = epa("status", collection)[1]
    assert "variant=V, distill.p=0.8" in shown
    assert "3 paintings in 6 cells" in shown
    assert shown.count("work-0001.png") == 5


def test_why_lists_every_cell_of_an_item(epa: Epa, collection: Path) -> None:
    _, text, _ = epa("why", collection, "work-0000.png")
    now = [line for line in text.splitlines() if line.startswith("now")]
    assert len(now) == 5
    assert now[0].startswith(
        "now, variant=baseline, distill.p=0.4 and variant=baseline, distill.p=0.8: done"
    )
    lines = text.splitlines()
    at = lines.index(next(line for line in lines if line.startswith("now, variant=V+S")))
    assert lines[at + 1 : at + 3] == ['  run.variant = "V+S"', "  distill.p = 0.4"]
    assert text.count("\n  prompt = ") == 1  # what all cells share is said once
    assert sum("attempt 1: done" in line for line in lines) == 5
    assert all(f"variant={v}, distill.p=0.4: attempt 1" in text for v in VARIANTS)


def test_plan_and_manifest_speak_of_works(epa: Epa, collection: Path, tmp_path: Path) -> None:
    tree = yaml.safe_load((collection / "run.yaml").read_text())
    tree |= {"output": str(collection)}
    tree["matrix"]["variant"].append("S")
    file = tmp_path / "RUN.yaml"
    file.write_text(yaml.safe_dump(tree, sort_keys=False))
    facts = json.loads(epa("plan", file, "--json")[1])
    assert (facts["total"], facts["items"], facts["pending"]) == (18, 3, 3)
    assert facts["counts"] == {"done": 10, "failed": 5, "new": 3}
    assert "3 of 18 works (3 paintings) to do" in epa("plan", file)[1]
    rows = list(csv.DictReader(io.StringIO(epa("manifest", collection)[1])))
    assert [row["cell"] for row in rows[:5]] == [
        "variant=baseline, distill.p=0.4",
        *(f"variant={v}, distill.p={p}" for v in ("V", "V+S") for p in (0.4, 0.8)),
    ]
    ids = [row["item_id"] for row in rows]
    assert ids == sorted(ids)
    assert len(rows) == 15


def test_a_wrong_matrix_stops_before_any_work(epa: Epa, tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 1)
    for setting, sentence in [
        ("matrix.distil.p=[0.4]", "did you mean 'distill.p'?"),
        ("matrix.distill.p=[]", "matrix.distill.p is empty"),
        ("matrix={variant: [V, V]}", "variant=V is there twice"),
    ]:
        code, _, said = epa("animate", source, "-o", tmp_path / "out", "--set", setting)
        assert (code, sentence in said) == (2, True), said
    code, _, said = epa("animate", source, "-o", tmp_path / "out", "--preset", "papers")
    assert (code, "did you mean 'paper'?" in said) == (2, True)
    # The weights are a local folder; nobody can guess which.
    code, _, said = epa("animate", source, "-o", tmp_path / "out", "--preset", "paper")
    assert (code, "model.source" in said) == (2, True)
    assert not (tmp_path / "out").exists()


def test_init_writes_a_presets_run_file(epa: Epa, tmp_path: Path) -> None:
    file = tmp_path / "RUN.yaml"
    assert epa("init", file, "--preset", "papr")[0] == 2
    assert not file.exists()
    assert epa("init", file, "--preset", "paper")[0] == 0
    tree = yaml.safe_load(file.read_text())
    assert (tree["preset"], tree["model"]["name"]) == ("paper", "animate-anything")


@pytest.mark.usefixtures("prefect_home")
class TestUnderPrefect:
    """`epa animate` and the flow, in this process."""

    @pytest.fixture(autouse=True)
    def _server_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("PREFECT_API_URL", raising=False)

    def test_animate_adds_a_value_and_retries_every_cell(self, epa: Epa, tmp_path: Path) -> None:
        source, out = write_paintings(tmp_path / "in", 2), tmp_path / "out"
        settings = [
            *("model.num_frames=4", "prepare.area=1024"),
            *("distill.num_inference_steps=4", "animate.num_inference_steps=4"),
        ]
        words = [word for setting in settings for word in ("--set", setting)]
        first = epa("animate", source, "-o", out, *words, "--set", "matrix.variant=[V]")
        assert (first[0], "2 of 2 works done" in first[1]) == (0, True)
        limit = ("--set", "execution.limits.max_pixels=1000", "--set", "execution.keep=[]")
        more = epa("animate", source, "-o", out, "--set", "matrix.variant=[V, baseline]", *limit)
        assert "2 of 4 works (2 paintings) done" in more[1]
        assert "2 failed: too_large" in more[1]
        assert epa("animate", source, "-o", out, "--set", "execution.limits.max_pixels=2000")[0]
        code, said, _ = epa("retry", out, "--reason", "too_large")
        assert said.startswith("2 works are to be tried again")
        assert (code, "4 of 4 works (2 paintings) done" in said) == (0, True)
        assert "Nothing to do" in epa("animate", source, "-o", out)[1]
        kept = yaml.safe_load((out / "run.yaml").read_text())
        assert kept["matrix"] == {"variant": ["V", "baseline"]}

    def test_the_flow_takes_a_matrix_as_its_parameter(self, tmp_path: Path) -> None:
        from prefect.client.orchestration import get_client

        from flows.animate_collection import animate_collection

        source = write_paintings(tmp_path / "in", 4)
        run = tiny_run(
            source,
            tmp_path / "out",
            title="matrix",
            matrix={"variant": VARIANTS},
            execution={"shard_size": 2},
        )
        plain = run.model_dump(mode="json")  # as a deployment's parameters are
        state = animate_collection(plain, return_state=True)  # type: ignore[call-overload]
        assert state.result()["counts"] == {"done": 12}
        with get_client(sync_client=True) as client:
            tasks = [
                task.name
                for task in client.read_task_runs()
                if task.flow_run_id == state.state_details.flow_run_id
            ]
        # One task run per shard and pass, however many cells.
        shards = [name for name in tasks if name.startswith("animate-s")]
        assert len(shards) == len(set(shards)) == len(tasks) / 2
