"""The object store on local disk: whole files, published by an atomic rename or hard link."""

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from stat import S_ISDIR

from catalogs import paths
from catalogs.errors import ConfigError
from catalogs.store import ObjectInfo, Store, check_path, unless_missing

_TEMPORARY = ".tmp-"
_ABANDONED = 24 * 3600  # seconds after which no writer can still be at work on a file
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class LocalStore(Store):
    """A folder: temporary file beside the target, then an atomic replace or hard link."""

    def __init__(self, root: str | Path) -> None:
        try:
            self.root = Path(root).expanduser().resolve()
        except (RuntimeError, OSError) as error:  # links in a circle, a home of nobody
            raise ConfigError(f"{str(root)!r} is no place: {error}") from error
        super().__init__(str(self.root))

    def check_writable(self) -> None:
        """Make the folder and write into it; ConfigError in one sentence when that fails.

        Temporary files that killed writers left among records, seals and manifest go.
        """
        # Not Path.exists, which raises where nobody may look: the writing says what is wrong there.
        places = (self.root, *self.root.parents)
        blocker = next((place for place in places if os.path.exists(place)), None)  # noqa: PTH110
        if blocker is not None and not blocker.is_dir():
            raise ConfigError(f"output {self.url} is not writable: {blocker} is a file.")
        super().check_writable()
        self._tidy()

    def _tidy(self) -> None:
        """Remove what writers that were killed left in the state's folders over a day ago."""
        oldest = time.time() - _ABANDONED
        for prefix in (paths.RECORDS, paths.SEALS, paths.MANIFEST, paths.RETRIES):
            for folder, _, names in os.walk(self.root / prefix):
                for name in names:
                    if name.startswith(_TEMPORARY):
                        path = Path(folder) / name
                        with contextlib.suppress(OSError):
                            if path.stat().st_mtime < oldest:
                                path.unlink()

    def remove_temporaries(self) -> None:
        """Remove what killed writers left anywhere here; nobody else may be writing."""
        for folder, _, names in os.walk(self.root):
            for name in names:
                if name.startswith(_TEMPORARY):
                    (Path(folder) / name).unlink(missing_ok=True)

    def link(self, path: str, origin: Path) -> bool:
        """Make an object of a file of this disk without copying it, replacing what was there.

        Both are one file from then on. False where the disk cannot, or `origin` is on another.
        """
        target = self.root / check_path(path)
        temporary = target.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(origin, temporary)
            self._publish(temporary, target, os.replace, durable=False)
        except OSError as error:
            if error.errno in _NO_HARD_LINKS or error.errno == errno.EXDEV:
                return False
            raise
        return True

    def _get(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def _put(self, path: str, data: bytes, content_type: str | None, durable: bool) -> None:
        temporary, target = self._write(path, data, durable)
        self._publish(temporary, target, os.replace, durable)

    def _create(self, path: str, data: bytes, content_type: str | None, durable: bool) -> None:
        if (self.root / path).exists():  # saves the writing; the link below is what decides
            raise FileExistsError(path)
        temporary, target = self._write(path, data, durable)
        self._publish(temporary, target, _link, durable)

    def _write(self, path: str, data: bytes, durable: bool) -> tuple[Path, Path]:
        """Write the bytes to a new hidden file in the target's folder."""
        target = self.root / path
        temporary = target.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
        try:
            file = temporary.open("xb")
        except FileNotFoundError:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except FileExistsError as error:  # a file where a folder must be: not "exists"
                raise NotADirectoryError(errno.ENOTDIR, "a file is in the way", path) from error
            file = temporary.open("xb")
        try:
            with file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary, target

    @staticmethod
    def _publish(
        temporary: Path, target: Path, move: Callable[[Path, Path], None], durable: bool
    ) -> None:
        try:
            move(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        if durable:
            _sync_folder(target.parent)

    def _list(self, prefix: str) -> Sequence[ObjectInfo]:
        found = []
        for folder, _, names in os.walk(self.root / prefix, onerror=unless_missing):
            relative = PurePosixPath(Path(folder).relative_to(self.root).as_posix())
            for name in names:
                if not name.startswith(_TEMPORARY):
                    with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                        found.append(self._head(str(relative / name)))
        return found

    def _delete(self, batch: Sequence[str]) -> None:
        for path in batch:
            (self.root / path).unlink(missing_ok=True)

    def _head(self, path: str) -> ObjectInfo:
        stat = (self.root / path).stat()
        if S_ISDIR(stat.st_mode):
            raise FileNotFoundError(path)
        return ObjectInfo(path, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))


def _link(temporary: Path, target: Path) -> None:
    """Publish only where nothing is; where the disk has no hard links, test and then replace.

    The latter is not exclusive, which is harmless: whoever loses wrote the same key's result.
    """
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if target.exists():
            raise FileExistsError(str(target)) from None
        temporary.replace(target)


def _sync_folder(folder: Path) -> None:
    """Make the new name durable where the system allows it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
