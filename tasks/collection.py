"""A collection opened for work: its catalog, its keys, what is done already, and its shards."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from catalogs.cache import Cache
from catalogs.catalog import open_source, select
from catalogs.ledger import Ledger, finished, load
from catalogs.plan import Plan, Work, make_plan, plan_key
from catalogs.prompts import assign_prompts
from catalogs.shards import ShardId
from catalogs.store import Store
from tasks.config import RunConfig
from tasks.keychain import COLUMNS, KeyChain
from tasks.shard import Job, Shard

if TYPE_CHECKING:
    import pyarrow as pa

# Two task runs a shard: about a thousand in a flow run is what Prefect's pages and server bear.
_MOST_SHARDS = 250
_JOB_COLUMNS = (*COLUMNS, "prompt_source", "prompt_rule", "styles", "genre", "year_begin")


class Collection:
    """One run's view of its collection.

    ``table`` is the selected catalog with prompts, ``works`` one Work per row. The ledger is read
    at the first look at ``plan``; `finished_summary` answers "nothing to do" with one request.
    """

    def __init__(self, run: RunConfig, store: Store, table: pa.Table):
        self.run = run
        self.store = store
        self.table = table
        self.recipe = run.recipe()
        self.chain = KeyChain(self.recipe)
        self._key_rows: list[dict[str, Any]] = table.select(list(COLUMNS)).to_pylist()
        self.works = list(self.chain.works(self._key_rows))
        self.on_record: Callable[[str], None] = lambda status: None

    @classmethod
    def open(cls, run: RunConfig) -> Collection:
        """Read the catalog and make all keys. Raises ConfigError, UnsupportedError."""
        store = Store.open(run.output)
        return cls(run, store, chosen_works(run, open_source(run.catalog, run.columns or None)))

    @cached_property
    def plan_key(self) -> str:
        """Names this very set of works and keys; its seals say what is finished."""
        return plan_key(self.works)

    def finished_summary(self) -> Mapping[str, Any] | None:
        """What the whole plan came to, if it is sealed: one request."""
        return finished(self.store, self.plan_key)

    @cached_property
    def ledger(self) -> Ledger:
        """Every fact recorded so far in the store."""
        return load(self.store)

    @cached_property
    def plan(self) -> Plan:
        """What is to be done, and why."""
        return make_plan(
            self.works,
            self.ledger,
            shard_size=max(self.run.execution.shard_size, len(self.works) // _MOST_SHARDS),
            max_attempts=self.run.execution.max_attempts,
            material_of=self.material,
        )

    def replan(self) -> Plan:
        """The plan after what has been recorded since it was first made."""
        for name in ("ledger", "plan"):
            self.__dict__.pop(name, None)
        return self.plan

    def material(self, work: Work) -> dict[str, Any]:
        """What went into a work's keys."""
        return self.chain.material(self._key_rows[work.index])

    def rows(self, works: list[Work]) -> list[dict[str, Any]]:
        """Catalog rows of some works, in their order."""
        indices = [work.index for work in works]
        rows: list[dict[str, Any]] = self.table.select(list(_JOB_COLUMNS)).take(indices).to_pylist()
        return rows

    def shard(self, shard_id: str) -> Shard:
        """The pending works of one shard, ready for a pass; similar sizes are neighbours."""
        pending = self.plan.shards[ShardId(shard_id)]
        rows = self.rows([entry.work for entry in pending])
        jobs = [
            Job(entry.work, row, entry.attempt, entry.stages)
            for entry, row in zip(pending, rows, strict=True)
        ]
        jobs.sort(key=lambda job: (self._aspects[job.work.index], job.work.item_id))
        return Shard(
            shard_id=shard_id,
            jobs=jobs,
            store=self.store,
            cache=Cache(self.store, frozenset(self.run.execution.keep)),
            recipe=self.recipe,
            execution=self.run.execution,
            max_prompt=self.run.prompts.max_length,
            seed_of=lambda job, stage: self.chain.seed(job.row, stage),
            material_of=lambda job: self.chain.material(job.row),
            facts=self.facts,
            on_record=lambda status: self.on_record(status),
        )

    @cached_property
    def facts(self) -> dict[str, str]:
        """Identities that every record repeats."""
        recipe = self.recipe.model_dump_json().encode()
        return {
            "model.identity": self.chain.model,
            "proxy.identity": self.chain.proxy,
            "config.digest": hashlib.blake2b(recipe, digest_size=16).hexdigest(),
        }

    @cached_property
    def _aspects(self) -> list[float]:
        sizes = self.table.select(["width", "height"]).to_pylist()
        return [(s["width"] or 0) / (s["height"] or 1) for s in sizes]


def chosen_works(run: RunConfig, catalog: pa.Table) -> pa.Table:
    """The works a run is about, with their prompts. Raises ConfigError."""
    return assign_prompts(
        select(catalog, run.where, run.limit),
        prompt=run.prompts.text,
        overrides=run.prompts.overrides,
        provider=run.prompts.provider,
    )


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
