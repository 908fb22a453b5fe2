"""The object store on Google Cloud Storage, by gcsfs and the JSON API it speaks."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from catalogs.store import ObjectInfo
from catalogs.store_remote import CloudStore, aware

_LARGEST = 5 << 40  # bytes of an object; gcsfs would cut what is above 50 MB into parts
_BATCH = 100  # deletions in one request


class GoogleStore(CloudStore):
    """A prefix in a bucket; creates are conditional puts (`ifGenerationMatch=0`).

    Listing and asking go by `call`: gcsfs asks for folders besides, and twice for what is not
    there.
    """

    def _connect(self) -> None:
        super()._connect()
        self._bucket, _, self._below = self.root.partition("/")

    def _object(self, path: str) -> str:
        return f"{self._below}/{path}" if self._below else path

    def _named(self, content_type: str, cache_control: str) -> dict[str, Any]:
        return {
            "content_type": content_type,
            "fixed_key_metadata": {"cache_control": cache_control},
            "chunksize": _LARGEST,
        }

    def _list(self, prefix: str) -> Sequence[ObjectInfo]:
        found: list[ObjectInfo] = []
        page: str | None = None
        start = len(self._below) + 1 if self._below else 0
        while True:
            answer = self.fs.call(
                *("GET", "b/{}/o", self._bucket),
                prefix=self._object(f"{prefix}/"),
                pageToken=page,
                json_out=True,
            )
            items = answer.get("items") or ()
            found.extend(_info(item["name"][start:], item) for item in items)
            page = answer.get("nextPageToken")
            if not page:
                return found

    def _head(self, path: str) -> ObjectInfo:
        answer = self.fs.call("GET", "b/{}/o/{}", self._bucket, self._object(path), json_out=True)
        return _info(path, answer)

    def _delete(self, batch: Sequence[str]) -> None:
        step = _BATCH if self.fs.on_google else 1  # emulators know no batches
        self._count("delete", (len(batch) - 1) // step)
        with contextlib.suppress(FileNotFoundError):  # all of them are gone already
            self.fs.rm([self._full(path) for path in batch], batchsize=_BATCH)


def _info(path: str, entry: Mapping[str, Any]) -> ObjectInfo:
    return ObjectInfo(path, int(entry.get("size", 0)), aware(_moment(entry.get("updated"))))


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
