"""The files below a folder or a store's prefix, listed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalogs import retries
from catalogs.addresses import PROTOCOLS, absolute, filesystem_of, local_path, store_name
from catalogs.credentials import redact
from catalogs.errors import ConfigError

_WITH_BUCKETS = ("az", "gs")  # whose clients list a bucket that does not exist as an empty one


@dataclass(frozen=True)
class Listing:
    """Files by their names below `root`, in the order of their folders; a store's with `sizes`.

    A file's place is its path or URL. `sizes` (bytes, by place) is empty for a local folder.
    """

    root: str
    names: Sequence[str]
    is_local: bool
    sizes: Mapping[str, int] = field(default_factory=dict)

    def place(self, name: str) -> str:
        """Where a file of this listing lies."""
        return f"{self.root}/{name}"


def list_files(location: str | Path) -> Listing:
    """All files below a local folder or a store's URL; ConfigError where there is no such place."""
    path = local_path(str(location))
    return list_store(str(location)) if path is None else _list_folder(absolute(path))


def _list_folder(folder: Path) -> Listing:
    if not folder.exists():
        raise ConfigError(f"{folder}: this folder does not exist.")
    if not folder.is_dir():
        raise ConfigError(f"{folder}: this is a file, not a folder of images.")
    found = sorted(path for path in folder.rglob("*") if not path.is_dir())
    names = [path.relative_to(folder).as_posix() for path in found]
    return Listing(str(folder).rstrip("/"), names, is_local=True)


def list_store(location: str) -> Listing:
    """All objects below a store's URL. ConfigError where there is none, or no such bucket."""
    root = location.rstrip("/")
    filesystem, below = filesystem_of(location)
    filesystem.invalidate_cache()  # a listing kept by this process may be of an earlier build
    try:
        below, found = retries.attempt(
            lambda: _find(filesystem, below, root),
            f"listing {root}",
            expected=(FileNotFoundError, PermissionError, NotADirectoryError),
            store=store_name(location),
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(_nowhere(root)) from error
    except PermissionError as error:
        raise ConfigError(f"{root}: this may not be listed: {redact(str(error))}.") from error
    except (ImportError, ValueError, OSError, RuntimeError) as error:  # adlfs has RuntimeError
        raise ConfigError(f"{root}: this cannot be listed: {redact(str(error))}.") from error
    if not found:
        raise ConfigError(f"{root}: there is nothing below this address.")
    if below in found:
        raise ConfigError(
            f"{root}: this is one file; a source is a table, or the folder that pictures are in."
        )
    if root.startswith("hf://"):
        root = f"hf://{below}"
    names = sorted((path[len(below) :].lstrip("/") for path in found), key=lambda n: n.split("/"))
    sizes = {f"{root}/{path[len(below) :].lstrip('/')}": size for path, size in found.items()}
    return Listing(root, names, is_local=False, sizes=sizes)


def _find(filesystem: Any, below: str, root: str) -> tuple[str, dict[str, int]]:
    """The prefix as the client spells it, and the bytes of every object below it."""
    family = PROTOCOLS[root.partition("://")[0]]
    if family == "hf":  # with the revision, as its listings have it
        below = str(filesystem.resolve_path(below).unresolve())
    below = below.rstrip("/")
    answer = filesystem.find(below, detail=True)
    if isinstance(answer, list):  # adlfs' answer for what is a file
        answer = {path: {} for path in answer}
    found = {
        path: int(info.get("size") or 0)
        for path, info in answer.items()
        if info.get("type") != "directory" and not path.endswith("/")  # marks of empty folders
    }
    if not found and family in _WITH_BUCKETS and not filesystem.exists(below.partition("/")[0]):
        raise FileNotFoundError(below)
    return below, found


def _nowhere(root: str) -> str:
    if root.startswith("hf://"):
        return f"{root}: there is no such data set or folder, or it may not be read."
    bucket = store_name(root)
    return (
        f"{root}: there is no bucket {bucket}." if bucket else f"{root}: there is no such folder."
    )
