"""What `epa deploy` makes of its options, before a server is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Answer
from paintings import write_run_file
from pydantic import SecretStr

from catalogs.storage import S3Options, Storage
from flows.deploying import Wishes, deployments
from tasks.config import RunConfig
from tasks.runfile import load_run_file, parse_run


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--cron", "often"), "--cron 'often': five fields are allowed"),
        (("--cron", "61 * * * *"), "--cron '61 * * * *': five fields are allowed"),
        (("--timezone", "Mars/Olympus"), "--timezone 'Mars/Olympus': a name of the IANA"),
        (("--name", "a/b"), "--name 'a/b': letters, digits"),
        (("--webhook", "ftp://very-secret"), "--webhook: an http or https address is allowed"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    epa: Callable[..., Answer], tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    answer = epa("deploy", write_run_file(tmp_path, 1), *options)
    assert answer.code == 2
    assert answer.err.startswith(f"epa: {sentence}")
    assert answer.err.count("\n") == 1
    assert "very-secret" not in answer.err


def test_a_run_file_that_is_none_is_said(epa: Callable[..., Answer], tmp_path: Path) -> None:
    answer = epa("deploy", tmp_path / "RUN.yaml")
    assert answer.code == 2
    assert "there is no run file" in answer.err


def test_the_run_of_the_parameters_is_that_of_the_file(tmp_path: Path) -> None:
    file = write_run_file(tmp_path, 2, preset="paper", matrix={"variant": ["V", "V+S"]})
    run = load_run_file(str(file))
    [entry, *_] = deployments(run, Wishes())
    assert RunConfig.model_validate(entry["parameters"]["run"]) == run


def test_other_deployments_know_how_the_store_is_reached() -> None:
    storage = Storage(s3=S3Options(endpoint_url="http://minio.museum:9000", path_style=True))
    tree = {"catalog": "s3://a/c.parquet", "output": "s3://a/out", "storage": storage.model_dump()}
    entries = {entry["name"]: entry for entry in deployments(parse_run(tree), Wishes())}
    for name in ("evaluate", "maintenance"):
        parameters = entries[name]["parameters"]
        assert parameters["location"] == "s3://a/out"
        assert Storage.model_validate(parameters["storage"]) == storage


def test_the_schedule_is_of_the_collection_and_the_zone_of_all(tmp_path: Path) -> None:
    run = load_run_file(str(write_run_file(tmp_path, 1)))
    wishes = Wishes(cron="5 4 * * *", timezone="Asia/Tokyo", webhook=SecretStr("https://x"))
    entries = {entry["name"]: entry for entry in deployments(run, wishes)}
    [nightly] = entries["animate-collection"]["schedules"]
    [weekly] = entries["maintenance"]["schedules"]
    assert (nightly["cron"], nightly["timezone"]) == ("5 4 * * *", "Asia/Tokyo")
    assert (weekly["cron"], weekly["timezone"]) == ("0 12 * * 0", "Asia/Tokyo")
    [off] = deployments(run, Wishes(cron="off"))[0]["schedules"]
    assert not off["active"]
