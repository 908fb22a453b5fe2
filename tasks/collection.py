"""A collection opened for work: its catalog, its keys, what is done already, and its shards."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from catalogs import crashes, reviews
from catalogs.cache import Cache
from catalogs.ended import ended
from catalogs.leases import Lease, Leases
from catalogs.ledger import Ledger, finished, load
from catalogs.plan import PendingWork, Plan, Work, make_plan
from catalogs.reviews import Reviews
from catalogs.shards import ShardId, holds, same_branch
from catalogs.storage import configure
from catalogs.store import Store
from catalogs.validation import paused_collector
from tasks.alone import ALONE
from tasks.config import RunConfig
from tasks.failures import FailureWatch
from tasks.in_flight import InFlight
from tasks.keychain import COLUMNS, KeyChain
from tasks.matrix import Cell
from tasks.shard import Job, Shard
from tasks.sizing import shard_size
from tasks.works import chosen_works, inputs_key, source_of, works_of

if TYPE_CHECKING:
    import pyarrow as pa

    from catalogs.records import Record

_JOB_COLUMNS = (*COLUMNS, "prompt_source", "prompt_rule", "styles", "genre", "year_begin")


class Collection:
    """One run's view of its collection.

    ``table`` is the selected catalog with prompts, ``works`` one Work per row and cell of the
    run's matrix (one cell without a matrix); those of a row are neighbours, and cells that make
    the same of it are one work. ``plan_key`` names all that the works' keys are made of; its seals
    say what is finished. Keys are made and the ledger is read at the first look at ``plan``;
    `finished_summary` answers "nothing to do" without either, by one request. ``reviews`` are what
    curators decided: ``table`` has their takes and prompts already.
    """

    def __init__(
        self,
        run: RunConfig,
        store: Store,
        table: pa.Table,
        plan_key: str | None = None,
        reviews: Reviews | None = None,
    ):
        self.run = run = run.at_commits()  # what other processes, keys and the manifest get
        self.store = store
        self.table = table
        self.reviews = reviews or Reviews()
        self.cells = run.cells()
        self.chains = [KeyChain(self.cells[0].recipe)]
        for cell in self.cells[1:]:
            self.chains.append(self.chains[-1].under(cell.recipe))
        self.plan_key = plan_key or inputs_key(self.chains, table, self.reviews.seq)
        self.leases = Leases(store, self.plan_key, run.execution.lease_seconds)
        self.leftovers = False  # whether the shard opened last has records not yet sealed
        self.on_record: Callable[[str], None] = lambda status: None
        self.on_commit: Callable[[Record], None] = lambda record: None
        # A fault that is not the paintings' is not one shard's or cell's either.
        self.watch = FailureWatch(run.execution.max_failure_ratio)

    @classmethod
    def open(cls, run: RunConfig) -> Collection:
        """Read the catalog and make all keys. Raises ConfigError, UnsupportedError."""
        configure(run.storage, run.execution.protocols, own=run.output)
        store = Store.open(run.output)
        source = source_of(run, store)
        decided = reviews.load(store)
        return cls(run, store, chosen_works(run, source, decided), reviews=decided)

    @classmethod
    def of_rows(cls, run: RunConfig, table: pa.Table, plan_key: str) -> Collection:
        """A part of an opened collection, in another process; the plan it belongs to is named."""
        configure(run.storage, run.execution.protocols, own=run.output)
        return cls(run, Store.open(run.output), table, plan_key)

    @cached_property
    def _key_rows(self) -> list[dict[str, Any]]:
        with paused_collector():
            rows: list[dict[str, Any]] = self.table.select(list(COLUMNS)).to_pylist()
        return rows

    @cached_property
    def works(self) -> list[Work]:
        """Every work with its keys. Raises ConfigError for texts that cannot enter a key."""
        with paused_collector():
            return list(works_of(self.chains, self._key_rows))

    def finished_summary(self) -> Mapping[str, Any] | None:
        """What the whole plan came to, if it is sealed: one request."""
        return finished(self.store, self.plan_key)

    @cached_property
    def ledger(self) -> Ledger:
        """Every fact recorded so far in the store, seen with what curators rejected."""
        ledger, notes = load(self.store), self.reviews.rejected
        if not notes:
            return ledger
        works = {work.key: work.item_id for work in self.works if work.item_id in notes}
        return ledger.rejecting({key: notes[item] for key, item in works.items()}, works)

    @cached_property
    def shard_size(self) -> int:
        """Paintings in one shard: as the run says, or by the seconds that works are known to take.

        Other processes may come to another size later; a shard's name says what it holds.
        """
        identity = self.chains[0].model
        return shard_size(
            self.run.execution,
            self.table.num_rows,
            len(self.works),
            lambda: self.ledger.seconds_per_work(identity),
        )

    @cached_property
    def plan(self) -> Plan:
        """What is to be done, and why."""
        return make_plan(
            self.works,
            self.ledger,
            plan_key=self.plan_key,
            shard_size=self.shard_size,
            max_attempts=self.run.execution.max_attempts,
            material_of=self.material,
            varied=[in_material(name) for name in self.run.matrix],
            seeds_of=lambda work: self.cells[work.cell].recipe.select.candidates,
        )

    def replan(self) -> Plan:
        """The plan after what has been recorded since it was first made."""
        for name in ("ledger", "plan"):
            self.__dict__.pop(name, None)
        return self.plan

    def material(self, work: Work) -> dict[str, Any]:
        """What went into a work's keys."""
        return self.chains[work.cell].material(self._key_rows[work.index])

    def cells_by_key(self, index: int) -> dict[str, list[Cell]]:
        """Work's key -> the cells it stands for, of one catalog row."""
        found: dict[str, list[Cell]] = {}
        for cell, chain in zip(self.cells, self.chains, strict=True):
            key = Work("", index, chain.keys(self._key_rows[index])).key
            found.setdefault(key, []).append(cell)
        return found

    def results(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Manifest of the works that have a record, by item id, an item's in the order of cells.

        ``cell`` is the present matrix's: the record may have been written under another. Of all
        ``columns`` or some, with ``item_id``, ``key``, ``cell``, ``status``, ``attempt`` in them.
        """
        import pyarrow as pa

        cell_of = {work.key: work.cell for work in self.works}
        table = self.ledger.table(cell_of, columns)
        cells = [cell_of[key] for key in table["key"].to_pylist()]
        ids = table["item_id"].to_pylist()
        labels = pa.array([self.cells[cell].label for cell in cells], pa.string())
        table = table.set_column(table.schema.get_field_index("cell"), "cell", labels)
        order = sorted(range(len(cells)), key=lambda i: (ids[i], cells[i]))
        return table.take(pa.array(order, pa.int64()))

    def rows(self, works: list[Work]) -> list[dict[str, Any]]:
        """Catalog rows of some works, in their order."""
        import pyarrow as pa

        indices = pa.array([work.index for work in works], pa.int64())
        rows: list[dict[str, Any]] = self.table.select(list(_JOB_COLUMNS)).take(indices).to_pylist()
        return rows

    def shards(self, shard_id: str, lease: Lease | None = None) -> list[Shard]:
        """The pending works of one shard, ready for a pass: a Shard for each cell that has some.

        Works that ended since the plan was made, mostly in another pass or by another worker, are
        left out. Cells follow each other in the order of the matrix, so that what one caches is
        there for the next; within a cell similar sizes are neighbours.
        """
        pending = self._unended(shard_id)
        rows = self.rows([entry.work for entry in pending])
        # Others may have died, and been noticed by others, since the plan was made.
        if pending:
            self.deaths = crashes.counts(self.store)
        jobs: dict[int, list[Job]] = {}
        for entry, row in zip(pending, rows, strict=True):
            job = Job(entry.work, row, entry.attempt, entry.stages, self.deaths[entry.work.key])
            jobs.setdefault(entry.work.cell, []).append(job)
        return [self._shard_of(shard_id, cell, jobs[cell], lease) for cell in sorted(jobs)]

    @cached_property
    def deaths(self) -> Counter[str]:
        """How many workers died with a work, by its key."""
        return crashes.counts(self.store)

    def _unended(self, shard_id: str) -> list[PendingWork]:
        pending = self.pending(shard_id)
        planned = {(entry.work.key, entry.attempt) for entry in pending}
        known = set(self.ledger.sources.manifest)
        over, self.leftovers = ended(self.store, shard_id, planned, known)
        for _ in over:
            self.on_record("recorded")
        return [entry for entry in pending if (entry.work.key, entry.attempt) not in over]

    def pending(self, shard_id: str) -> list[PendingWork]:
        """Planned works that a shard of this or of another partition holds.

        Other processes may have seen another catalog or size of shards when they planned.
        """
        shards = self.plan.shards
        if (exact := shards.get(ShardId(shard_id))) is not None:
            return exact
        near = (works for name, works in shards.items() if same_branch(name, shard_id))
        return [entry for works in near for entry in works if holds(shard_id, entry.work.item_id)]

    def _shard_of(self, shard_id: str, cell: int, jobs: list[Job], lease: Lease | None) -> Shard:
        calm = [job for job in jobs if job.crashes < ALONE]
        shard = self.shard_of(shard_id, cell, calm, lease)
        shard.suspects = [job for job in jobs if job.crashes >= ALONE]
        return shard

    def shard_of(
        self, shard_id: str, cell: int, jobs: list[Job], lease: Lease | None = None
    ) -> Shard:
        """Works of one cell, ready for a pass."""
        chain = self.chains[cell]
        return Shard(
            shard_id=shard_id,
            jobs=sorted(jobs, key=lambda job: (self._aspects[job.work.index], job.work.item_id)),
            in_flight=InFlight(lease),
            store=self.store,
            cache=Cache(self.store, frozenset(self.run.execution.keep)),
            recipe=chain.recipe,
            execution=self.run.execution,
            max_prompt=self.run.prompts.max_length,
            seed_of=lambda job, stage, candidate=0: chain.seed(job.row, stage, candidate),
            material_of=lambda job: chain.material(job.row),
            facts={
                "model.identity": chain.model,
                "proxy.identity": chain.proxy,
                "config.digest": hashlib.blake2b(chain.configuration, digest_size=16).hexdigest(),
            },
            cell=self.cells[cell].label,
            on_record=lambda status: self.on_record(status),
            on_commit=lambda record: self.on_commit(record),
            watch=self.watch,
        )

    @cached_property
    def _aspects(self) -> list[float]:
        sizes = self.table.select(["width", "height"]).to_pylist()
        return [(s["width"] or 0) / (s["height"] or 1) for s in sizes]


def in_material(setting: str) -> str:
    """The field of `KeyChain.material` that holds a setting, given by its dotted name."""
    section, dot, rest = setting.partition(".")
    return f"{section}.{rest.partition('.')[0]}" if dot else f"run.{section}"


_lock = threading.Lock()
_opened: Collection | None = None


def register(collection: Collection) -> None:
    """Make ``collection`` the one that the flow and tasks of this process find under its run."""
    global _opened
    with _lock:
        _opened = collection


def current(run: RunConfig) -> Collection:
    """The collection of ``run``: the registered one, or opened anew in a process of its own."""
    global _opened
    with _lock:
        if _opened is None or _opened.run != run:
            _opened = Collection.open(run)
        return _opened


def forget() -> None:
    """Let the next `current` read the store again: a flow has ended, another may follow."""
    global _opened
    with _lock:
        _opened = None
