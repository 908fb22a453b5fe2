"""The object store on S3 and what speaks like it, by s3fs: one request for every verb."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from catalogs.store import ObjectInfo
from catalogs.store_remote import CloudStore, aware

_LARGEST = 5 << 30  # bytes of one put; s3fs would cut what is above 100 MB into parts


class S3Store(CloudStore):
    """A prefix in a bucket; creates are conditional puts (`If-None-Match: *`)."""

    def _get(self, path: str) -> bytes:
        # s3fs asks for the size first unless told that one stream is enough.
        return bytes(self.fs.cat_file(self._full(path), max_concurrency=1))

    def _named(self, content_type: str, cache_control: str) -> dict[str, Any]:
        return {
            "ContentType": content_type,
            "CacheControl": cache_control,
            "chunksize": _LARGEST,
        }

    def _list(self, prefix: str) -> Sequence[ObjectInfo]:
        # A stem below the root: one listing, also when nothing is there.
        return self._infos(self.fs.find(self.root, prefix=f"{prefix}/", detail=True))

    def _head(self, path: str) -> ObjectInfo:
        # s3fs would look for a folder of that name where there is no object.
        bucket, root, _ = self.fs.split_path(self.root)
        found = self.fs.call_s3("head_object", Bucket=bucket, Key=_key(root, path))
        return ObjectInfo(path, int(found["ContentLength"]), aware(found["LastModified"]))

    def _delete(self, batch: Sequence[str]) -> None:
        bucket, root, _ = self.fs.split_path(self.root)
        keys = [{"Key": _key(root, path)} for path in batch]
        # s3fs's own deletion says nothing of keys that could not be deleted.
        answer = self.fs.call_s3(
            "delete_objects", Bucket=bucket, Delete={"Objects": keys, "Quiet": True}
        )
        for failed in answer.get("Errors") or ():
            code, message = failed.get("Code"), f"{failed.get('Code')}: {failed.get('Message')}"
            if code == "AccessDenied":
                raise PermissionError(message)
            if code not in ("NoSuchKey", "NoSuchVersion"):
                raise OSError(message)


def _key(root: str, path: str) -> str:
    return f"{root}/{path}" if root else path
