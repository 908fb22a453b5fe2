"""Every failure code, provoked: recorded as such, tried again or not, and nobody else harmed."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from failing_works import PROVOKED, no_memory, no_memory_in_cv2
from local_runner import run_locally
from paintings import tiny_run, write_paintings

from catalogs.codes import CODES, retried
from catalogs.errors import ConfigError, StoreError, TooManyBytes
from catalogs.storage import Storage, configure
from epa_core.errors import ItemError, UnsupportedError
from epa_core.models.preview import PreviewPipeline
from tasks.collection import Collection
from tasks.failures import BrokenAccelerator, as_item_error, out_of_memory

torch.set_num_threads(1)

# Without a record of their own: tests below. Of `worker_killed`: tests of crash attribution;
# of `rejected`: tests/tasks/test_reviewed_works.py.
ENDS_THE_PROCESS = {"cuda_assert", "illegal_address"}
BY_DEATHS = {"worker_killed"}
BY_REVIEW = {"rejected"}


class Misbehaving(BaseHTTPRequestHandler):
    """A store whose answer is the name of the bucket."""

    protocol_version = "HTTP/1.1"
    over = threading.Event()

    def do_GET(self) -> None:
        bucket = self.path.split("/")[1]
        if bucket == "store-timeout":
            self.over.wait(30)
            self.close_connection = True
            return
        status = {"store-5xx": 500, "unreadable-file": 403}[bucket]
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder that names the port of a misbehaving store; its settings are taken back after."""
    Misbehaving.over.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Misbehaving)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "port").write_text(str(server.server_port))
    yield tmp_path
    Misbehaving.over.set()
    server.shutdown()
    server.server_close()
    configure(Storage())


def test_every_code_is_provoked() -> None:
    assert set(PROVOKED) | ENDS_THE_PROCESS | BY_DEATHS | BY_REVIEW == set(CODES)


@pytest.mark.parametrize("code", PROVOKED)
def test_a_bad_work_ends_in_its_code_and_harms_nobody(
    code: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = PROVOKED[code](place, monkeypatch)
    _, collection = run_locally(run)
    rows = {row["item_id"]: row for row in collection.ledger.table().to_pylist()}
    bad, good = rows.pop("bad"), rows.pop("good")
    assert not rows
    assert (bad["status"], bad["code"]) == ("failed", code), bad["message"]
    assert bad["message"]
    assert bad["stage_failed"]
    assert bad["retryable"] == retried(code)
    assert (good["status"], good["code"]) == ("done", None), good["message"]
    pending = Collection.open(run).plan.pending
    assert [entry.work.item_id for entry in pending] == (["bad"] if retried(code) else [])


@pytest.mark.parametrize(
    ("sentence", "code"),
    [
        ("CUDA error: device-side assert triggered\nCUDA kernel errors ...", "cuda_assert"),
        ("CUDA error: an illegal memory access was encountered", "illegal_address"),
        ("CUDA error: unspecified launch failure", "illegal_address"),
    ],
)
def test_a_broken_accelerator_ends_the_run_and_blames_no_painting(
    sentence: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: PreviewPipeline, **_: object) -> None:
        raise torch.AcceleratorError(sentence)

    run = tiny_run(write_paintings(tmp_path / "in", 2), tmp_path / "out")
    with monkeypatch.context() as patched:
        patched.setattr(PreviewPipeline, "__call__", broken)
        with pytest.raises(BrokenAccelerator, match="the process has to end") as caught:
            run_locally(run)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").rglob("records/**/*.json"))
    assert run_locally(run)[0].counts == {"done": 2}


def _full_numpy() -> Exception:
    try:
        np.ones(1 << 59)
    except MemoryError as error:
        return error
    raise AssertionError("this machine has four exbibytes")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ItemError("truncated", "x"), "truncated"),
        (FileNotFoundError("x"), "missing_file"),
        (PermissionError("x"), "unreadable_file"),
        (TooManyBytes("x"), "too_large"),
        (ConfigError("x"), "bad_reference"),
        (StoreError("x"), "store_error"),
        (torch.OutOfMemoryError("x"), "cuda_oom"),
        (RuntimeError("CUDNN_STATUS_ALLOC_FAILED"), "cuda_oom"),
        (torch.AcceleratorError("CUDA error: out of memory"), "cuda_oom"),
        (MemoryError("x"), "host_oom"),
        (no_memory(), "host_oom"),
        (no_memory_in_cv2(), "host_oom"),
        (_full_numpy(), "host_oom"),
        (OSError(12, "Cannot allocate memory"), "host_oom"),
        (ValueError("x"), "unexpected"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_what_an_error_means(error: Exception, code: str) -> None:
    judged = as_item_error(error, "prepare")
    assert (judged.code, judged.stage) == (code, "prepare")
    assert out_of_memory(error) == (code in {"cuda_oom", "host_oom"})


@pytest.mark.parametrize("error", [FileNotFoundError("kernel.so"), PermissionError("cache")])
def test_a_file_of_the_machine_is_no_picture(error: Exception) -> None:
    """Compiled kernels have caches of their own: what is missing there says nothing of a work."""
    assert as_item_error(error, "animate").code == "unexpected"


@pytest.mark.parametrize(
    "error",
    [ItemError("numeric", "no numbers", stage="animate"), BrokenAccelerator("cuda_assert", "gone")],
)
def test_failures_travel_between_processes(error: ItemError | BrokenAccelerator) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("kind", ["store_5xx", "store_timeout", "dns", "store_error", "new one"])
def test_a_store_says_how_it_failed(kind: str) -> None:
    error = StoreError("x")
    error.kind = kind
    assert as_item_error(error, "fetch").code == (kind if kind in CODES else "store_error")


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (UnsupportedError("prepare.multiple does not fit"), UnsupportedError),
        (RuntimeError("CUDA error: device-side assert triggered"), BrokenAccelerator),
        # Nothing is broken: this build has no code for the device, whatever the painting.
        (
            torch.AcceleratorError("CUDA error: no kernel image is available for execution"),
            UnsupportedError,
        ),
    ],
)
def test_what_every_painting_would_meet_is_raised(
    error: Exception, raised: type[Exception]
) -> None:
    with pytest.raises(raised):
        as_item_error(error, "animate")
