import errno
import logging
from pathlib import Path

import pytest

from catalogs.cache import Cache
from catalogs.store import Store
from catalogs.store_local import LocalStore

KEY = "0123456789abcdef" * 2


def test_kept_stages_come_back_and_can_be_discarded(tmp_path: Path) -> None:
    cache = Cache(Store.open(str(tmp_path)), ["prepare"])
    assert cache.get("prepare", KEY, "png") is None
    cache.put("prepare", KEY, "png", b"pixels")
    assert cache.get("prepare", KEY, "png") == b"pixels"
    assert (tmp_path / "cache" / "prepare" / "01" / f"{KEY}.png").exists()
    assert cache.get("prepare", KEY, "npz") is None
    cache.discard("prepare", KEY, "png")
    assert cache.get("prepare", KEY, "png") is None


def test_stages_not_kept_cost_no_request(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    cache = Cache(store, frozenset())
    cache.put("animate", KEY, "bin", b"x")
    assert cache.get("animate", KEY, "bin") is None
    cache.discard("animate", KEY, "bin")
    assert store.counts == {}


class Broken(LocalStore):
    """Local disk without space that cannot be read either."""

    def _put(self, path: str, data: bytes, content_type: str | None, durable: bool) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def _get(self, path: str) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    def _delete(self, batch: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")


def test_a_broken_cache_is_logged_and_fails_no_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache(Broken(tmp_path), ["animate"])
    with caplog.at_level(logging.WARNING, "catalogs.cache"):
        cache.put("animate", KEY, "bin", b"x")
        assert cache.get("animate", KEY, "bin") is None
        cache.discard("animate", KEY, "bin")
    text = caplog.text
    for reason in ("No space left", "Permission denied", "Read-only"):
        assert reason in text


def test_a_cause_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Broken(tmp_path)
    with caplog.at_level(logging.DEBUG, "catalogs.cache"):
        for count in range(9):  # each shard has a cache of its own
            Cache(store, ["animate"]).put("animate", f"{count}{KEY[1:]}", "bin", b"x")
        Cache(store, ["animate"]).get("animate", KEY, "bin")
        Cache(Broken(tmp_path), ["animate"]).put("animate", KEY, "bin", b"x")  # another run
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert ["not kept" in text for text in warnings] == [True, False, True]
    assert len(caplog.records) == 11
