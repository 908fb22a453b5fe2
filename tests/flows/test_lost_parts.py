"""What a collection that has lost a part of itself says, and that what it says helps."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from command_line import Answer
from local_runner import run_locally
from paintings import TINY, write_paintings

from catalogs import paths, retries
from catalogs.catalog import read_catalog
from catalogs.errors import StoreError
from catalogs.leases import Leases
from flows.collection import prepare_run
from tasks.collection import Collection
from tasks.runfile import load_run_file

Epa = Callable[..., Answer]
GIVEN = {f"{key}.{name}": v for key, node in TINY.items() for name, v in node.items()}
LOOKERS = ("status", "verify", "gc", "rebuild")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished collection of three works with a catalog of its own; not to be changed."""
    root = tmp_path_factory.mktemp("lost")
    source = write_paintings(root / "in", 3)
    run_locally(prepare_run(str(source), str(root / "out"), GIVEN).run)
    return root


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy/out"


def again(out: Path) -> str:
    return f"epa animate SOURCE -o {out}"


class TestRunFile:
    """`run.yaml` is missing or damaged."""

    @pytest.mark.parametrize("command", LOOKERS)
    def test_a_lost_one_names_its_copy_and_the_command(
        self, epa: Epa, out: Path, command: str
    ) -> None:
        (out / "run.yaml").unlink()
        answer = epa(command, out)
        copy = next((out / "runs").glob("*/run.yaml"))
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert "its run.yaml is lost" in answer.err
        assert f"copy {copy} to its place" in answer.err
        assert again(out) in answer.err

    def test_the_copy_is_a_cure(self, epa: Epa, out: Path, finished: Path) -> None:
        (out / "run.yaml").unlink()
        shutil.copy(next((out / "runs").glob("*/run.yaml")), out / "run.yaml")
        facts = json.loads(epa("status", out, "--json").out)
        assert facts["states"]["done"] == 3

    def test_so_is_the_command(self, epa: Epa, out: Path) -> None:
        (out / "run.yaml").unlink()
        plan = prepare_run(str(out.parent / "in"), str(out), GIVEN).plan
        assert plan.counts == {"done": 3}

    def test_a_damaged_one_says_both(self, epa: Epa, out: Path) -> None:
        (out / "run.yaml").write_bytes(b"catalog: [\n")
        source = out.parent / "in"
        for words in (["status", out], ["verify", out], ["animate", source, "-o", out]):
            answer = epa(*words)
            assert (answer.code, answer.err.count("\n")) == (2, 1)
            assert "is not valid YAML; mend it, or remove it and copy" in answer.err
            assert again(out) in answer.err

    def test_a_wrong_setting_says_only_what_is_wrong(self, epa: Epa, out: Path) -> None:
        tree = yaml.safe_load((out / "run.yaml").read_text())
        (out / "run.yaml").write_text(yaml.safe_dump({**tree, "sed": 7}))
        answer = epa("status", out)
        assert (answer.code, "did you mean 'seed'?" in answer.err) == (2, True)
        assert "animate SOURCE" not in answer.err

    def test_any_other_folder_is_no_collection(self, epa: Epa, tmp_path: Path) -> None:
        answer = epa("status", tmp_path)
        assert (answer.code, "this is no collection" in answer.err) == (2, True)
        assert "animate" not in answer.err


class TestCatalog:
    """The collection's own catalog is missing or damaged."""

    @pytest.mark.parametrize("data", [None, b"", b"PAR1 and no more"])
    def test_the_cure_is_said_and_helps(
        self, epa: Epa, out: Path, data: bytes | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        catalog = out / paths.CATALOG
        catalog.unlink()
        if data is not None:
            catalog.write_bytes(data)
        for command in LOOKERS:
            answer = epa(command, out)
            assert (answer.code, answer.err.count("\n")) == (2, 1), command
            assert f"write it anew with: {again(out)}" in answer.err
        collection = prepare_run(str(out.parent / "in"), str(out), GIVEN)
        assert collection.plan.counts == {"done": 3}
        assert ("written anew" in caplog.text) == (data is not None)
        assert read_catalog(catalog).num_rows == 3
        assert epa("verify", out, "--deep").code == 0

    def test_the_catalog_of_somebody_else_is_theirs(self, epa: Epa, tmp_path: Path) -> None:
        run = tmp_path / "run.yaml"
        run.write_text(yaml.safe_dump({"catalog": "gone.parquet", "output": "out"}))
        answer = epa("run", run)
        assert answer.code == 2
        assert "animate SOURCE" not in answer.err


class TestUnrecorded:
    """Videos that no record speaks of, of works that are to be done."""

    def test_they_are_seen_and_taken_in(self, epa: Epa, out: Path) -> None:
        for name in ("manifest", "records", "seals"):
            shutil.rmtree(out / name, ignore_errors=True)
        said = f"3 results lie in videos/ and are not recorded: epa rebuild {out}"
        seen = epa("verify", out)
        assert (seen.code, said in seen.out) == (1, True)
        assert "as recorded." not in seen.out
        assert json.loads(epa("verify", out, "--json").out)["counts"] == {"unrecorded": 3}
        shown = epa("status", out)
        assert (shown.code, said in shown.out) == (0, True)
        assert json.loads(epa("status", out, "--json").out)["unrecorded"] == 3
        assert epa("rebuild", out).code == 0
        assert epa("verify", out, "--deep").code == 0
        assert "unrecorded" not in json.loads(epa("status", out, "--json").out)

    def test_what_a_worker_is_at_is_no_fault(self, epa: Epa, out: Path) -> None:
        for name in ("manifest", "records", "seals"):
            shutil.rmtree(out / name, ignore_errors=True)
        collection = Collection.open(load_run_file(str(out / "run.yaml")))
        first, second, third = collection.works
        lease = Leases(collection.store, collection.plan_key, 600).acquire("s")
        assert lease is not None
        lease.name({first.key: first.item_id, second.key: second.item_id})
        facts = json.loads(epa("verify", out, "--json").out)
        assert facts["counts"] == {"unrecorded": 1}
        assert paths.parse_output(f"{facts['findings'][0]['path']}/x.mp4").key == third.key[:12]
        lease.release()

    def test_another_result_of_a_recorded_work_is_none(self, epa: Epa, out: Path) -> None:
        folder = next((out / "videos").rglob("video.mp4")).parent
        key = paths.parse_output(f"{folder.relative_to(out)}/video.mp4").key
        shutil.copytree(folder, folder.with_name(f"{key}-{'0' * 12}"))
        assert epa("verify", out).code == 0


def test_redo_says_what_comes_next(epa: Epa, out: Path) -> None:
    next((out / "videos").rglob("video.mp4")).unlink()
    run = f"epa run {out}/run.yaml"
    assert f"--redo; then: {run}" in epa("verify", out).out
    done = epa("verify", out, "--redo").out
    assert f"1 results are to be made again by the next run: {run}" in done
    assert "--redo" not in done


def test_a_folder_that_may_not_be_entered_is_one_sentence() -> None:
    if not hasattr(os, "setuid") or os.getuid() != 0:
        pytest.skip("needs another user")
    with tempfile.TemporaryDirectory() as folder:  # above tmp_path nobody else may enter, either
        Path(folder).chmod(0o755)
        _try_to_write_below_a_shut_folder(Path(folder))


def _try_to_write_below_a_shut_folder(root: Path) -> None:
    source = write_paintings(root / "in", 1)
    shut = root / "shut"
    shut.mkdir(mode=0o700)
    (root / "file").touch()
    # The first call imports all there is: the interpreter's own folders may be shut, too.
    code = (
        "import os, sys\n"
        "from flows.cli import main\n"
        f"source, blocked, shut = {str(source)!r}, {str(root / 'file')!r}, {str(shut / 'a/b')!r}\n"
        "sys.argv = ['epa', 'animate', source, '-o', blocked]\n"
        "try: main()\n"
        "except SystemExit as stop: assert stop.code == 2\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "sys.argv = ['epa', 'animate', source, '-o', shut]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "is not writable: Permission denied" in done.stderr
    assert done.stderr.count("\n") == 2


@pytest.mark.parametrize("place", ["loop/out", "n" * 300 + "/out", "~nobody-at-all/out"])
def test_a_place_that_is_none_is_one_sentence(epa: Epa, tmp_path: Path, place: str) -> None:
    source = write_paintings(tmp_path / "in", 1)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    out = place if place.startswith("~") else tmp_path / place
    answer = epa("animate", source, "-o", out)
    assert (answer.code, answer.err.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    "setting",
    ["s3.secret_access_key=topsecret", "s3.endpoint_url=http://user:topsecret@127.0.0.1:1"],
)
def test_a_wrong_setting_of_the_store_is_said_before_the_store_is_asked(
    epa: Epa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    source = write_paintings(tmp_path / "in", 1)
    answer = epa("animate", source, "-o", "s3://bucket/place", "--set", f"storage.{setting}")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "credentials come from the environment" in answer.err
    assert "topsecret" not in answer.err
    assert "locate" not in answer.err


AGAIN = "run the same command again"


@pytest.mark.parametrize("credentials", [True, False])
def test_running_again_is_not_advised_where_it_cannot_help(
    epa: Epa, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, credentials: bool
) -> None:
    s3fs = pytest.importorskip("s3fs")
    from object_server import S3Server

    with S3Server() as server:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in server.environment().items():
            if credentials or name not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                monkeypatch.setenv(name, value)
        for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "none"))
        s3fs.S3FileSystem.clear_instance_cache()  # of another server
        place = f"s3://nowhere-{credentials}-at-all".lower()
        answer = epa("status", f"{place}/x")
    assert (answer.code, answer.err.count("\n")) == (1, 1)
    expected = f"there is no such bucket: {place}/x" if credentials else "locate credentials"
    assert expected in answer.err
    assert AGAIN not in answer.err


@pytest.mark.parametrize(
    ("number", "final"), [(errno.ENOSPC, False), (errno.EIO, False), (errno.EACCES, True)]
)
def test_it_is_where_it_can(number: int, final: bool) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(StoreError) as caught:
        retries.attempt(fail, "get of x", backoff=0)
    assert caught.value.final is final
