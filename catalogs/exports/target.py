"""The place an export goes to: whether it may, what is there already, what must go.

The marker `epa-export.json` lists every file with its digest and size *before* any is written, and
what is there but differs from the list is removed before the list is replaced. So a file that is
there under a listed name, at the listed size, has the listed content: files are written whole. This
is all that is needed to go on after an interruption with one listing of the place.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from catalogs.errors import ConfigError, StoreError
from catalogs.keys import digest_bytes
from catalogs.store import Store
from catalogs.store_local import LocalStore

MARKER = "epa-export.json"
CARD = "README.md"
_VERSION = 1
_OWN_PLACE = "exports"  # the folder of a collection that exports may lie in


class Content(NamedTuple):
    """Digest and size of a file of an export; the digest of a tar is that of its list."""

    digest: str
    bytes: int


class Target:
    """One export's place. Only one process may write to it at a time."""

    def __init__(self, url: str, format: str, *, owner: str, adopt: bool = False) -> None:
        """Look at the place. `owner` names the collection; `adopt` takes a place that is not ours.

        Raises ConfigError where something else is there, StoreError.
        """
        self.store = Store.open(url)
        self.format = format
        self.owner = owner
        self._there = self._list()
        self._former: dict[str, Content] = {}
        self._documents: dict[str, Content] = {}
        self._read_marker(adopt)

    @property
    def url(self) -> str:
        """Where it is."""
        return self.store.url

    def _list(self) -> dict[str, int]:
        """Every file that is there, with its size; hidden temporary ones of stores are not seen."""
        if isinstance(self.store, LocalStore) and self.store.root.is_file():
            raise ConfigError(f"--output {self.url} is not writable: it is a file; name a folder")
        parent, _, leaf = self.store.url.rstrip("/").rpartition("/")
        if not leaf or parent.endswith(":/"):
            raise ConfigError(
                f"--output {self.url}: name a folder in it, not a whole disk or bucket"
            )
        above = Store.open(parent or "/")
        return {info.path[len(leaf) + 1 :]: info.size for info in above.list(leaf)}

    def _read_marker(self, adopt: bool) -> None:
        if MARKER not in self._there:
            if self._there and not adopt:
                first = min(self._there)
                raise ConfigError(
                    f"--output {self.url}: there are other files ({first!r}, ...) and no export; "
                    "name an empty folder, or add --into-existing"
                )
            return
        try:
            marker = json.loads(self.store.get(MARKER) or b"")
            made = (marker["version"], marker["format"], marker["collection"])
            self._former = {path: Content(*entry) for path, entry in marker["files"].items()}
            self._documents = {path: Content(*e) for path, e in marker["documents"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ConfigError(
                f"--output {self.url}: its {MARKER} is damaged; remove the folder, or name another"
            ) from None
        if made[:2] != (_VERSION, self.format):
            raise ConfigError(
                f"--output {self.url}: an export as {made[1]!r} is there; name another folder"
            )
        if made[2] != self.owner and not adopt:
            raise ConfigError(
                f"--output {self.url}: the export of another collection is there, or of one that "
                "has moved; name another folder, or replace it with --into-existing"
            )

    def begin(self, plan: Mapping[str, Content]) -> None:
        """Remove what is not in the plan, or there with another content, and publish the plan.

        Raises ConfigError where nothing can be written, StoreError.
        """
        self._plan = dict(plan)
        gone = {path for path, was in self._former.items() if plan.get(path) != was}
        # In a place that was adopted: a name of ours with unknown content.
        gone |= {path for path in self._there if path in plan and path not in self._former}
        gone &= self._there.keys()
        changed = gone or any(not self.has(path) for path in plan)
        if changed or self._former != self._plan:
            # Lists first, so that none ever names what is gone. The card says nothing of files.
            gone |= {path for path in self._documents if path != CARD} & self._there.keys()
            self._delete(gone)
            self._documents = {p: c for p, c in self._documents.items() if p not in gone}
            try:
                self._write_marker(complete=False)
            except StoreError as error:
                cause = error.__cause__ or error
                reason = getattr(cause, "strerror", None) or str(cause)
                raise ConfigError(f"--output {self.url} is not writable: {reason}") from error
            self._tidy()

    def has(self, path: str) -> bool:
        """Whether a planned file is there, whole, from this export or a former one."""
        want = self._plan[path]
        return self._there.get(path) == want.bytes and self._former.get(path) == want

    def put(self, path: str, data: bytes) -> None:
        """Write a planned file. Raises StoreError."""
        self.store.put(path, data, durable=False)

    def link(self, path: str, origin: Path) -> bool:
        """Give a file a second name here; False where the disk cannot. Raises StoreError."""
        return isinstance(self.store, LocalStore) and self.store.link(path, origin)

    def finish(self, documents: Mapping[str, bytes], *, complete: bool) -> list[str]:
        """Write the lists and the card that belong to the files; notes on what was left alone.

        A card that somebody has changed, or put there, stays as it is.
        """
        notes = []
        was = dict(self._documents)
        for path, data in documents.items():
            content = Content(digest_bytes(data), len(data))
            if path == CARD and CARD in self._there and self._is_theirs():
                notes.append(f"{CARD} is not ours, or was edited, and stays as it is")
                continue
            if was.get(path) != content or self._there.get(path) != content.bytes:
                self.store.put(path, data)
            self._documents[path] = content
        self._write_marker(complete=complete)
        return notes

    def _is_theirs(self) -> bool:
        ours = self._documents.get(CARD)
        data = self.store.get(CARD)
        return data is not None and (ours is None or digest_bytes(data) != ours.digest)

    def _write_marker(self, *, complete: bool) -> None:
        marker: dict[str, Any] = {
            "about": "An export by epa; `epa export` goes on with it. Safe to delete.",
            "version": _VERSION,
            "format": self.format,
            "collection": self.owner,
            "complete": complete,
            "documents": dict(sorted(self._documents.items())),
            "files": self._plan,
        }
        data = json.dumps(marker, ensure_ascii=False, separators=(",", ":")).encode()
        if self._there.get(MARKER) != len(data) or self.store.get(MARKER) != data:
            self.store.put(MARKER, data, "application/json")
            self._there[MARKER] = len(data)

    def _delete(self, gone: set[str]) -> None:
        self.store.delete(gone)
        for path in gone:
            self._there.pop(path, None)
        if isinstance(self.store, LocalStore):
            folders = {parent for path in gone for parent in Path(path).parents}
            for folder in sorted(folders - {Path()}, key=lambda f: -len(f.parts)):
                with contextlib.suppress(OSError):  # not empty
                    (self.store.root / folder).rmdir()

    def _tidy(self) -> None:
        """Remove what a writer that was killed has left: nobody else writes here."""
        if isinstance(self.store, LocalStore):
            self.store.remove_temporaries()


def check_place(collection: Store, url: str) -> None:
    """Refuse a place among the collection's own files, but below `exports/`. Raises ConfigError."""
    target, home = Store.open(url).url.rstrip("/"), collection.url.rstrip("/")
    own = f"{home}/{_OWN_PLACE}/"
    if home.startswith(f"{target}/"):
        raise ConfigError(f"--output {url}: the collection lies in it; name another folder")
    if target == home or (target.startswith(f"{home}/") and not target.startswith(own)):
        raise ConfigError(
            f"--output {url}: that is the collection's own place; allowed in it is {own}NAME"
        )
