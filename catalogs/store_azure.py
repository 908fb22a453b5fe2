"""The object store on Azure Blob Storage, by adlfs and the client it stands on."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from catalogs.store import ObjectInfo
from catalogs.store_remote import CloudStore, aware

T = TypeVar("T")

_PAGE = 5000  # blobs in an answer to a listing
_AT_ONCE = 16  # deletions under way together


class AzureStore(CloudStore):
    """A prefix in a container; creates are conditional puts (`If-None-Match: *`).

    Listing, asking and deleting go to the client itself: adlfs asks for folders besides, takes a
    prefix without its slash, and says RuntimeError for whatever happens. A deletion is one request
    for each blob.
    """

    def _connect(self) -> None:
        super()._connect()
        self._container, _, self._below = self.root.partition("/")

    def _blob(self, path: str) -> str:
        return f"{self._below}/{path}" if self._below else path

    def _client(self) -> Any:
        return self.fs.service_client.get_container_client(self._container)

    def _sync(self, work: Coroutine[Any, Any, T]) -> T:
        from fsspec.asyn import sync

        async def run() -> T:
            return await work

        return sync(self.fs.loop, run)

    def _named(self, content_type: str, cache_control: str) -> dict[str, Any]:
        settings = {"content_type": content_type, "cache_control": cache_control}
        return {"content_settings": settings}

    def _list(self, prefix: str) -> Sequence[ObjectInfo]:
        found = self._sync(self._listed(self._blob(f"{prefix}/")))
        start = len(self._below) + 1 if self._below else 0
        return [
            ObjectInfo(blob.name[start:], int(blob.size), aware(blob.last_modified))
            for blob in found
        ]

    async def _listed(self, stem: str) -> list[Any]:
        blobs = self._client().list_blobs(name_starts_with=stem, results_per_page=_PAGE)
        return [blob async for blob in blobs]

    def _head(self, path: str) -> ObjectInfo:
        found = self._sync(self._client().get_blob_client(self._blob(path)).get_blob_properties())
        return ObjectInfo(path, int(found.size), aware(found.last_modified))

    def _delete(self, batch: Sequence[str]) -> None:
        self._count("delete", len(batch) - 1)
        self._sync(self._deleted(batch))

    async def _deleted(self, batch: Sequence[str]) -> None:
        missing = importlib.import_module("azure.core.exceptions").ResourceNotFoundError
        client, turns = self._client(), asyncio.Semaphore(_AT_ONCE)

        async def one(path: str) -> None:
            async with turns:
                await client.delete_blob(self._blob(path))

        answers = await asyncio.gather(*map(one, batch), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, missing):
                raise answer
