"""The command line: what it says, with which exit code, and that bad input does no harm."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from local_runner import run_locally
from paintings import TINY, painting, tiny_run, write_paintings

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished collection with one failure; not to be changed."""
    root = tmp_path_factory.mktemp("collection")
    source = write_paintings(root / "in", 4)
    (source / "work-0001.png").write_bytes(b"no picture")
    out = root / "out"
    run = tiny_run(source, out)
    run_locally(run)
    tree = {**TINY, "catalog": str(source), "output": "."}
    (out / "run.yaml").write_text(yaml.safe_dump(tree))
    return out


def failed_item(collection: Path) -> str:
    rows = pq.read_table(next(collection.glob("manifest/parts/*.parquet"))).to_pylist()
    return next(row["item_id"] for row in rows if row["status"] == "failed")


# -- help and start-up


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv=['epa','--help']\n"
        "from flows.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch','prefect','diffusers','pyarrow','duckdb'} & set(sys.modules)))"
    )
    before = os.times().children_user
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "animate" in done.stdout
    assert os.times().children_user - before < 1  # of the processor, however busy it is


def test_help_names_arguments_as_sentences_do_and_shows_no_python_types() -> None:
    from typer.main import get_command

    from flows.cli.app import app

    def commands(group: Any) -> list[Any]:
        inner = getattr(group, "commands", {}).values()
        return [group, *(command for one in inner for command in commands(one))]

    found = commands(get_command(app))
    assert len(found) > 25
    for command in found:
        for parameter in command.params:
            chosen = parameter.type_descriptor.is_choice or getattr(parameter, "is_flag", False)
            named = chosen or parameter.metavar
            assert named, f"{command.name}: {parameter.name} needs a metavar"


@pytest.mark.parametrize(
    "command",
    [
        ["status", "{out}"],
        ["plan", "{out}"],
        ["manifest", "{out}"],
        ["gallery", "{out}"],
        ["models"],
    ],
)
def test_questions_never_import_prefect_or_torch(collection: Path, command: list[str]) -> None:
    words = [word.format(out=collection) for word in command]
    code = (
        f"import sys; sys.argv={['epa', *words]!r}\n"
        "from flows.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch','prefect','diffusers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


# -- questions about a collection


def test_status_counts_by_state_and_code(epa: Any, collection: Path) -> None:
    facts = json.loads(epa("status", collection, "--json").out)
    assert facts == {
        "works": 4,
        "states": {"done": 3, "failed": 1, "pending": 0},
        "codes": {"decode_failed": 1},
    }
    shown = epa("status", collection).out
    assert failed_item(collection) in shown
    assert "work-0001.png" in shown


def test_manifest_in_three_formats(epa: Any, collection: Path, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(epa("manifest", collection).out)))
    lines = epa("manifest", collection, "--format", "json").out.splitlines()
    file = tmp_path / "m.parquet"
    assert epa("manifest", collection, "--format", "parquet", "-o", file).code == 0
    table = pq.read_table(file).to_pylist()
    ids = [row["item_id"] for row in table]
    assert ids == [row["item_id"] for row in rows] == [json.loads(x)["item_id"] for x in lines]
    assert len(set(ids)) == 4


def test_why_tells_history_and_makings(epa: Any, collection: Path) -> None:
    answer = epa("why", collection, failed_item(collection))
    assert "failed [decode_failed]" in answer.out
    assert 'prompt = "the water ripples"' in answer.out
    assert epa("why", collection, "work-0001.png").out == answer.out
    assert epa("why", collection, "no-such-work").code == 2


def test_plan_says_what_a_change_would_redo(epa: Any, collection: Path, tmp_path: Path) -> None:
    tree = yaml.safe_load((collection / "run.yaml").read_text())
    tree |= {"output": str(collection), "encode": {"fps": 12}}
    file = tmp_path / "RUN.yaml"
    file.write_text(yaml.safe_dump(tree))
    facts = json.loads(epa("plan", file, "--json").out)
    assert facts["counts"] == {"changed: encode.fps 8 -> 12": 4}
    assert facts["pending"] == 4
    assert facts["seconds_estimate"] >= 0


def test_models_lists_the_cards(epa: Any) -> None:
    assert "preview" in epa("models").out
    assert "licence" in epa("models", "svd").out
    assert epa("models", "svdd").code == 2


# -- catalogs


def test_catalog_build_show_check(epa: Any, tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 3)
    file = tmp_path / "catalog.parquet"
    built = epa("catalog", "build", source, "-o", file)
    assert built.code == 0
    assert "3 in the catalog" in built.out
    assert pq.read_table(file).num_rows == 3
    assert epa("catalog", "build", source, "-o", file).code == 0  # a catalog may be built anew
    precious = tmp_path / "notes.parquet"
    precious.write_text("not a catalog")
    for target in (precious, tmp_path / "notes.docx"):
        refused = epa("catalog", "build", source, "-o", target)
        assert refused.code == 2
        assert target.name in refused.err
    assert precious.read_text() == "not a catalog"
    shown = epa("catalog", "show", file, "--where", "title = 'Work 1'")
    assert "1 of 3 works" in shown.out
    assert epa("catalog", "check", file).code == 0


# -- run files


def test_init_writes_a_run_file_once(epa: Any, tmp_path: Path) -> None:
    file = tmp_path / "RUN.yaml"
    assert epa("init", file).code == 0
    assert epa("init", file).code == 2
    assert yaml.safe_load(file.read_text())["seed"] == 0


# -- one painting


def test_awaken_one_painting(epa: Any, tmp_path: Path) -> None:
    import av

    painting(3, 96, 64).save(tmp_path / "p.png")
    out = tmp_path / "p.mp4"
    answer = epa(
        "awaken", tmp_path / "p.png", "-o", out, "--prompt", "clouds drift", "--frames", 4,
        "--steps", 4,
    )  # fmt: skip
    assert answer.code == 0, answer.err
    with av.open(str(out)) as video:
        assert sum(1 for _ in video.decode(video=0)) == 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{p}/p.png", "-o", "{p}/x.avi", "--prompt", "a"], "must end in"),
        (["{p}/p.png", "-o", "{p}/x.mp4", "--prompt", " "], "--prompt is empty"),
        (["{p}/no.png", "-o", "{p}/x.mp4", "--prompt", "a"], "cannot be read"),
        (["{p}/no.png", "-o", "{p}/x.mp4"], "no.png cannot be read"),
        (["{p}/p.png", "-o", "{p}/x.mp4"], "--prompt is missing"),
        (["{p}/p.png", "-o", "{p}/x.mp4", "--prompt", "a", "--weights", "/no"], "takes no source"),
        (["{p}/p.png", "-o", "{p}/no/x.mp4", "--prompt", "a"], "there is no folder"),
        (["{p}/p.png", "-o", "{p}/x.mp4", "--prompt", "a", "--model", "svdd"], "'svd'"),
        (["{p}/p.png", "-o", "{p}/x.mp4", "--prompt", "a", "--dtype", "float16"], "model.dtype"),
    ],
)
def test_awaken_refuses(epa: Any, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    painting(3, 96, 64).save(tmp_path / "p.png")
    answer = epa("awaken", *[a.format(p=tmp_path) for a in arguments])
    assert answer.code == 2
    assert sentence in answer.err
    assert answer.out == ""
    assert not (tmp_path / "x.mp4").exists()


def test_awaken_fails_at_a_painting_that_is_none_as_a_run_does(epa: Any, tmp_path: Path) -> None:
    (tmp_path / "p.png").write_text("no picture")
    answer = epa("awaken", tmp_path / "p.png", "-o", tmp_path / "x.mp4", "--prompt", "a")
    assert (answer.code, answer.out) == (1, "")
    assert "[decode_failed]" in answer.err


# -- bad input stops before any work


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "{p}/no.yaml"], "there is no run file"),
        (["animate", "{p}/nowhere", "-o", "{p}/out"], "there is no such folder or file"),
        (["animate", "{p}/in", "-o", "{p}/out", "--model", "previw"], "did you mean 'preview'"),
        (["animate", "{p}/in", "-o", "{p}/out", "--proxy", "givn"], "did you mean 'given'"),
        (["animate", "{p}/in", "-o", "{p}/out", "--where", "artst = 'x'"], "artist"),
        (["animate", "{p}/in", "-o", "{p}/out", "--where", "title = 'none such'"], "selects none"),
        (["animate", "{p}/in", "-o", "{p}/out", "--set", "encode.fsp=3"], "did you mean 'fps'"),
        (["animate", "{p}/in", "-o", "{p}/out", "--set", "encode"], "name=value"),
        (["animate", "{p}/in", "-o", "{p}/out", "--set", "model.dtype=float16"], "leave it out"),
        (["animate", "{p}/in", "-o", "{p}/a-file"], "a-file"),
        (["animate", "{p}/broken.parquet", "-o", "{p}/out"], "broken.parquet"),
        (["animate", "{p}/in", "-o", "s4://bucket/x"], "s4"),
        (["animate", "{p}/in", "-o", "{p}/out", "--limit", "0"], "limit"),
        (["animate", "{p}/empty", "-o", "{p}/out"], "no image"),
        (["animate", "", "-o", "{p}/out"], "SOURCE is empty"),
        (["animate", "{p}/in", "-o", ""], "--output is empty"),
        (["animate", "{p}/in", "-o", "{p}/in/out"], "lies in the folder of paintings"),
        (["demo", "-o", "{p}/a-file"], "a-file"),
        (["demo", "-o", "s3://bucket/x"], "local folder"),
        (["status", "{p}/in"], "no collection"),
        (["no-such-command"], "No such command"),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_2(
    epa: Any, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    write_paintings(tmp_path / "in", 2)
    (tmp_path / "a-file").write_text("not a folder")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 but not really")
    (tmp_path / "empty").mkdir()
    answer = epa(*[a.format(p=tmp_path) for a in arguments])
    assert answer.code == 2, answer.err
    assert sentence in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("prefect_home")
class TestAnimate:
    """`epa animate` under Prefect, in this process."""

    @pytest.fixture(autouse=True)
    def _server_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # The harness is the server; the precheck for "no server" is not wanted here.
        monkeypatch.delenv("PREFECT_API_URL", raising=False)

    def settings(self) -> list[str]:
        tiny = {
            "model.num_frames": 4,
            "prepare.area": 1024,
            "distill.num_inference_steps": 4,
            "animate.num_inference_steps": 4,
        }
        return [word for name, value in tiny.items() for word in ("--set", f"{name}={value}")]

    def test_again_resumes_and_keeps_hand_edits(self, epa: Any, tmp_path: Path) -> None:
        source, out = write_paintings(tmp_path / "in", 3), tmp_path / "out"
        first = epa("animate", source, "-o", out, *self.settings())
        assert (first.code, "3 of 3 works done" in first.out) == (0, True)
        again = epa("animate", source, "-o", out)
        assert again.code == 0
        assert "Nothing to do" in again.out
        assert yaml.safe_load((out / "run.yaml").read_text())["model"] == {"num_frames": 4}
        painting(7).save(source / "new.png")
        more = epa("animate", source, "-o", out)
        assert "4 of 4 works done" in more.out

    def test_an_unwritable_home_of_prefect_is_one_sentence(
        self, epa: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from prefect import settings
        from prefect.settings import temporary_settings

        (tmp_path / "file").write_text("")
        changed = {
            settings.PREFECT_HOME: tmp_path / "file" / "home",
            settings.PREFECT_API_URL: None,
            settings.PREFECT_SERVER_EPHEMERAL_ENABLED: True,
        }
        source = write_paintings(tmp_path / "in", 1)
        with temporary_settings(changed):
            answer = epa("animate", source, "-o", tmp_path / "out", *self.settings())
        assert answer.code == 2
        assert "PREFECT_HOME" in answer.err

    def test_after_epa_run_all_questions_can_be_asked(self, epa: Any, tmp_path: Path) -> None:
        write_paintings(tmp_path / "in", 2)
        out = tmp_path / "out"
        file = tmp_path / "RUN.yaml"
        file.write_text(yaml.safe_dump({**TINY, "catalog": "in", "output": "out"}))
        assert epa("run", file).code == 0
        assert json.loads(epa("status", out, "--json").out)["states"]["done"] == 2
        item = json.loads(epa("manifest", out, "--format", "json").out.splitlines()[0])["item_id"]
        for command in (["why", out, item], ["plan", out], ["gallery", out], ["retry", out]):
            assert epa(*command).code == 0

    @pytest.mark.parametrize(
        ("setting", "sentence"),
        [
            ("execution.device=cuda:7", "execution.device"),
            ("model.options={foo: 1}", "takes no 'foo'"),
            ("prepare.multiple=5", "multiple"),
        ],
    )
    def test_a_setting_the_model_cannot_take_fails_no_painting(
        self, epa: Any, tmp_path: Path, setting: str, sentence: str
    ) -> None:
        source, out = write_paintings(tmp_path / "in", 2), tmp_path / "out"
        answer = epa("animate", source, "-o", out, *self.settings(), "--set", setting)
        assert answer.code == 2, answer.err
        assert sentence in answer.err
        assert json.loads(epa("status", out, "--json").out)["states"] == {"pending": 2}
        name = setting.partition("=")[0]
        mended = {"execution.device": "cpu", "prepare.multiple": 8}.get(name, "{}")
        again = epa("animate", source, "-o", out, "--set", f"{name}={mended}")
        assert "2 of 2 works done" in again.out

    def test_failures_give_exit_code_1_and_retry_mends(self, epa: Any, tmp_path: Path) -> None:
        folder = write_paintings(tmp_path / "in", 2)
        out = tmp_path / "out"
        picture = (folder / "work-0001.png").read_bytes()
        limit = ("--set", "execution.limits.max_pixels=1000")
        answer = epa("animate", folder, "-o", out, *self.settings(), *limit)
        assert answer.code == 1
        assert "2 failed: too_large" in answer.out
        # Limits enter no key: what failed for good stays so until somebody asks.
        roomy = ("--set", "execution.limits.max_pixels=2000")
        assert "0 of 2 works done" in epa("animate", folder, "-o", out, *roomy).out
        assert epa("retry", out, "--reason", "no_such_code").code == 2
        mended = epa("retry", out, "--reason", "too_large")
        assert (mended.code, "2 of 2 works done" in mended.out) == (0, True)
        assert (folder / "work-0001.png").read_bytes() == picture
