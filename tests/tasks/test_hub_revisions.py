"""A revision that moves is no part of a key: the commit that it stood for is."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from command_line import Answer, caller
from local_runner import run_locally
from paintings import tiny_run, write_paintings, write_run_file
from tiny_pipelines import build

from tasks import models
from tasks.collection import Collection
from tasks.config import RunConfig

BEFORE, AFTER = "0123456789abcdef0123456789abcdef01234567", "f" * 40
SVD = {"name": "svd", "source": "me/mine", "num_frames": 4, "dtype": "float32"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of the hub's client, which is offline: me/mine, whose main is at BEFORE."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "hub" / "models--me--mine"
    build("svd").pipeline.save_pretrained(repository / "snapshots" / BEFORE)
    move(repository, BEFORE)
    return repository


def move(repository: Path, commit: str) -> None:
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(commit)


def run_at(folder: Path, revision: str, **more: Any) -> RunConfig:
    source = folder / "in"
    if not source.exists():
        write_paintings(source, 1, width=32, height=32)
    model = {**SVD, "revision": revision}
    canvas = {"area": 1024, "multiple": 32}
    return tiny_run(source, folder / "out", model=model, prepare=canvas, **more)


def test_a_branch_is_the_commit_it_stood_for_and_redone_once_it_moved(
    hub: Path, tmp_path: Path
) -> None:
    run = run_at(tmp_path, "main", variant="baseline")
    models.release()
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 1}, summary.codes
    [row] = collection.ledger.table().to_pylist()
    assert row["model_identity"] == f"me/mine@{BEFORE}"
    stated = Collection.open(run_at(tmp_path, BEFORE, variant="baseline"))
    assert stated.plan_key == collection.plan_key
    assert not stated.plan.pending
    shutil.copytree(hub / "snapshots" / BEFORE, hub / "snapshots" / AFTER)
    move(hub, AFTER)
    # What a night's workers are given stays where it was when the run was opened ...
    assert Collection.open(collection.run).chains[0].model == f"me/mine@{BEFORE}"
    # ... and a run that is opened anew is another one, whose plan says why.
    assert Collection.open(run).plan.counts == {"changed: model.identity": 1}


def test_a_proxys_branch_too_where_a_proxy_is_drawn(hub: Path, tmp_path: Path) -> None:
    proxy = {"name": "sdxl-refiner", "source": "me/mine", "revision": "main"}
    run = Collection.open(run_at(tmp_path, "main", proxy=proxy)).run
    assert (run.model.revision, run.proxy.revision) == (BEFORE, BEFORE)
    proxy["source"] = "me/unknown"
    Collection.open(run_at(tmp_path, "main", proxy=proxy, variant="V"))
    with pytest.raises(ValueError, match=r"proxy 'sdxl-refiner': proxy\.revision 'main'"):
        Collection.open(run_at(tmp_path, "main", proxy=proxy))


@pytest.fixture
def epa(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    return caller(monkeypatch, capsys)


def test_a_branch_that_nobody_knows_is_one_sentence(
    hub: Path, tmp_path: Path, epa: Callable[..., Answer]
) -> None:
    run = write_run_file(tmp_path, 1, model={**SVD, "revision": "next"})
    answer = epa("plan", run)
    assert answer.code == 2
    said = "model 'svd': model.revision 'next' of me/mine could not be resolved to a commit"
    assert said in answer.err
    assert "Traceback" not in answer.err


@pytest.fixture
def server() -> Iterator[str]:
    """The hub's API: it knows that main of me/mine is at AFTER, and nothing else."""

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path.startswith("/api/models/me/mine/revision/main")
            body = json.dumps({"id": "me/mine", "sha": AFTER} if known else {}).encode()
            self.send_response(200 if known else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    hub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{hub.server_port}"
    hub.shutdown()
    hub.server_close()


ASK = """
from epa_core.cards import model_commit
from epa_core.errors import UnsupportedError
print(model_commit("svd", "me/mine", "main"))
try:
    model_commit("svd", "me/unknown", "main")
except UnsupportedError as error:
    assert "me/unknown" in str(error), error
    print("fine")
"""


def test_the_hub_is_asked_and_its_last_answer_stands_while_it_is_away(
    server: str, tmp_path: Path
) -> None:
    """In a process of its own: the client reads its endpoint when it is imported."""
    for endpoint in (server, "http://127.0.0.1:9"):
        own = {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_CACHE": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", ASK],
            env={**os.environ, **own},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout == f"{AFTER}\nfine\n", done.stderr[-2000:]
