"""A scripted worker that dies before or after its k-th request, for every k.

Run as a program it forks one child per crash point, so that imports are paid once; prints one JSON
line per scenario. Its "videos" are random bytes: no two attempts at a work make the same.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow.compute  # loaded once, not in every child
import pyarrow.parquet  # noqa: F401 - as above

from catalogs import paths
from catalogs.keys import digest_bytes
from catalogs.ledger import finished, load, seal_all, seal_leftovers, seal_shard
from catalogs.plan import PendingWork, Work, key_of_works, make_plan
from catalogs.records import Output, Record, commit
from catalogs.store import ObjectInfo, Store
from catalogs.store_local import LocalStore

DIED = 77
WORKS = [
    Work(f"work/{i}", i, {"animate": f"{i:032x}", "encode": f"{i + 99:032x}"}) for i in range(3)
]
SHARD_SIZE = 2


class DyingStore(LocalStore):
    """Local disk under a process that ends at a given request, before or after it took effect.

    What a process has written survives its death without being forced to disk: nothing is.
    """

    def __init__(self, root: Path, die_at: int, after: bool) -> None:
        super().__init__(root)
        self.left, self.after = die_at, after

    def _around(self, act: Callable[[], object]) -> object:
        self.left -= 1
        if self.left == 0 and not self.after:
            os._exit(DIED)
        result = act()
        if self.left == 0:
            os._exit(DIED)
        return result

    def _get(self, path: str) -> bytes:
        return self._around(lambda: super(DyingStore, self)._get(path))  # type: ignore[return-value]

    def _put(self, path: str, data: bytes, content_type: str | None, durable: bool) -> None:
        self._around(lambda: super(DyingStore, self)._put(path, data, content_type, False))

    def _create(self, path: str, data: bytes, content_type: str | None, durable: bool) -> None:
        self._around(lambda: super(DyingStore, self)._create(path, data, content_type, False))

    def _list(self, prefix: str) -> Sequence[ObjectInfo]:
        return self._around(lambda: super(DyingStore, self)._list(prefix))  # type: ignore[return-value]

    def _delete(self, batch: Sequence[str]) -> None:
        self._around(lambda: super(DyingStore, self)._delete(batch))


def perform(store: Store, shard_id: str, pending: PendingWork) -> Record:
    """Make one "video", store it, commit it."""
    work, video = pending.work, os.urandom(64)
    digest = digest_bytes(video)
    path = paths.output(work.item_id, work.key, digest, "video.mp4")
    store.put(path, video)
    output = Output(name="video.mp4", path=path, sha256=digest, bytes=len(video))
    return commit(
        store,
        Record(
            item_id=work.item_id,
            shard_id=shard_id,
            key=work.key,
            status="done",
            attempt=pending.attempt,
            outputs=(output,),
        ),
    )


def run(store: Store, works: Sequence[Work] = WORKS, *, backwards: bool = False) -> Iterator[int]:
    """Do all that is missing; yields after each step, so that two runs can be interleaved."""
    name = key_of_works(works)
    if finished(store, name):
        return
    ledger = load(store)
    yield 0
    plan = make_plan(works, ledger, shard_size=SHARD_SIZE, material_of=lambda work: {})
    for shard_id, pending in plan.shards.items():
        records = list(ledger.leftovers.get(shard_id, []))
        for work in reversed(pending) if backwards else pending:
            records.append(perform(store, shard_id, work))
            yield 1
        seal_shard(store, name, shard_id, records)
        yield 2
    seal_leftovers(store, name, ledger, skip=plan.shards)
    yield 3
    seal_all(store, name, {"done": len(works)})


def in_child(store: Store) -> int:
    """Run to the end, or to the store's, in a process of its own; give back its exit code."""
    child = os.fork()
    if child == 0:
        for _ in run(store):
            pass
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(base: Path) -> None:
    """Die at every request, resume, die again a few requests later, and run to the end."""
    alive: set[bool] = set()
    for die_at in range(1, 1000):
        for after in (False, True):
            for again in (0, 7):
                root = base / f"{die_at}-{after}-{again}"
                codes = [in_child(DyingStore(root, die_at, after))]
                if again:
                    codes.append(in_child(DyingStore(root, again, after)))
                codes.append(in_child(DyingStore(root, 0, False)))
                sys.stdout.write(json.dumps({"root": str(root), "codes": codes}) + "\n")
                if codes[0] == 0:
                    alive.add(after)
        if len(alive) == 2:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
