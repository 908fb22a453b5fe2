"""Credentials stay in the environment: not in the store, a log, an error or a Prefect parameter."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from local_runner import run_locally
from object_server import S3Server
from paintings import tiny_run, write_paintings
from scripted_proxy import Fault, ScriptedProxy

from catalogs.errors import ConfigError, StoreError
from catalogs.storage import Storage, configure
from catalogs.store import Store
from flows.collection import prepare_run
from tasks.collection import Collection
from tasks.runfile import dump_run

MARKED = ("AKIAMARKEDKEY0001", "marked/Secret+0002", "marked-Session-token-0003")
REFUSED = Fault(403, "InvalidAccessKeyId", f"The key {MARKED[0]} does not exist; {MARKED[1]}.")


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture(autouse=True)
def marked(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    for name, value in zip(names, MARKED, strict=True):
        monkeypatch.setenv(name, value)
    configure(Storage())
    yield
    configure(Storage())


def leaked(text: str) -> list[str]:
    return [value for value in MARKED if value in text]


def logged(caplog: pytest.LogCaptureFixture) -> str:
    formatter = logging.Formatter()
    return "\n".join(f"{r.name} {formatter.format(r)}" for r in caplog.records)


def whole(error: BaseException) -> str:
    """All that a traceback of the error would show."""
    return "".join(traceback.format_exception(error))


def test_a_run_leaves_no_credential_anywhere(
    server: S3Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = server.bucket() + "/animated"
    caplog.set_level(logging.INFO)
    source = write_paintings(tmp_path / "in", 2)
    settings = {"model.num_frames": 4, "prepare.area": 1024, "execution.device": "cpu"}
    settings |= {"distill.num_inference_steps": 4, "animate.num_inference_steps": 4}
    settings |= {"storage.s3.path_style": True, "execution.limits.min_side": 16}
    collection = prepare_run(str(source), output, settings)
    summary, collection = run_locally(collection.run)
    assert summary.counts == {"done": 2}
    assert not leaked(collection.run.model_dump_json())  # what Prefect gets as the parameter
    assert not leaked(dump_run(collection.run))
    assert not leaked(logged(caplog))
    looked_at = 0
    client = boto3.client("s3", endpoint_url=server.url)
    bucket = output.removeprefix("s3://").partition("/")[0]
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page["Contents"]:
            answer = client.get_object(Bucket=bucket, Key=entry["Key"])
            text = answer["Body"].read().decode("latin-1") + str(answer["Metadata"]) + entry["Key"]
            assert not leaked(text), entry["Key"]
            looked_at += 1
    assert looked_at > 10


def test_failures_name_no_credential(
    server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    source = write_paintings(tmp_path / "in", 1)
    there = {"s3": {"endpoint_url": server.url}}
    missing = tiny_run(source, "s3://no-such-bucket-at-all/x", storage=there)
    with ScriptedProxy(server.url) as proxy:
        proxy.every = REFUSED
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        settings = {"s3": {"endpoint_url": proxy.url}}
        refused = tiny_run(source, server.bucket() + "/x", storage=settings)
        acts: list[tuple[Callable[[], object], type[Exception]]] = [
            (lambda: Store.open(refused.output).check_writable(), ConfigError),
            (lambda: Collection.open(refused).plan, StoreError),
            (lambda: Store.open(refused.output).put("a", b""), StoreError),
            (lambda: run_locally(refused), Exception),
        ]
        for act, kind in acts:
            with pytest.raises(kind) as caught:
                act()
            assert not leaked(whole(caught.value)), act
        assert proxy.take()
    configure(missing.storage)
    with pytest.raises(ConfigError, match="is not writable: there is no such bucket") as unwritable:
        Store.open(missing.output).check_writable()
    assert not leaked(whole(unwritable.value))
    with pytest.raises(StoreError, match="there is no such bucket: s3://no-such") as unread:
        Collection.open(missing)
    assert not leaked(whole(unread.value))
    assert not leaked(logged(caplog))


def test_a_picture_that_cannot_be_read_names_no_credential(
    server: S3Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its failure is recorded, and the record is looked at by anybody."""
    caplog.set_level(logging.INFO)
    bucket = server.bucket()
    table = tmp_path / "works.csv"
    table.write_text(f"id,image_uri,prompt\na,{bucket}/gone.jpg,clouds drift\n")
    with ScriptedProxy(server.url) as proxy:
        proxy.every = REFUSED
        settings = {"s3": {"endpoint_url": proxy.url}}
        run = tiny_run(table, tmp_path / "out", storage=settings)
        summary, _ = run_locally(run)
    assert summary.counts == {"failed": 1}
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert not leaked(path.read_bytes().decode("latin-1")), path
    assert not leaked(logged(caplog))
