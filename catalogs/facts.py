"""The ledger itself: all that is known to have been done, as catalogs.loading has read it.

Facts only grow and their union does not depend on order, so no lock guards them. Several rows may
speak of one key; the best counts (catalogs.rows).
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any

from catalogs.records import TIMINGS, Record, from_parquet, from_table, to_table
from catalogs.rows import (
    ORDER,
    PLAIN,
    REJECTED,
    Row,
    as_rejected,
    best_rows,
    latest_rows,
    without_lost,
)

SEEDED = "t_animate"  # the timing that every seed of a work takes anew


@dataclass(frozen=True)
class Sources:
    """The objects a ledger was read from, and what the newest HEAD says of the others.

    `files` are tables that were read, `parts` those among them that no snapshot covers, `manifest`
    all there is in that folder, `records` the leftover ones, damaged ones included, `wishes` those
    for works to be done again.
    """

    files: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    manifest: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    covered: Mapping[str, str] = field(default_factory=dict)
    """Objects a snapshot made superfluous -> when (UTC text)."""
    wishes: tuple[str, ...] = ()


class Ledger:
    """Rows of the snapshot, of the parts it does not cover, and of records not yet sealed.

    `retries` maps keys to the last attempt whose failure no longer counts, `lost` to the last one
    whose result is no longer there: it stands as a failure, but in `columns` and `history`, which
    tell what was recorded. `leftovers` are the records not yet sealed, by shard. Columns beyond
    those of `Row` are decoded only when asked for. `rejected` are the notes on works (by key) that
    a curator has set aside; that, too, is not in `columns` and `history`.
    """

    def __init__(
        self,
        files: Sequence[bytes] = (),
        leftovers: Sequence[Record] = (),
        retries: Mapping[str, int] | None = None,
        sources: Sources | None = None,
        lost: Mapping[str, int] | None = None,
        rejected: Mapping[str, str] | None = None,
    ) -> None:
        self._files = tuple(files)
        self._leftovers = tuple(leftovers)
        self.retries = dict(retries or {})
        self.lost = dict(lost or {})
        self.rejected = dict(rejected or {})
        self.sources = sources or Sources()

    @cached_property
    def leftovers(self) -> dict[str, list[Record]]:
        """Records not yet in a manifest part, by shard."""
        shards: dict[str, list[Record]] = {}
        for record in self._leftovers:
            shards.setdefault(record.shard_id, []).append(record)
        return shards

    def columns(self, names: Sequence[str] | None = None) -> Any:
        """All rows as recorded, in reading order, as a pyarrow.Table of all or some columns."""
        import pyarrow as pa

        names_of = dict(enumerate(self.sources.files))
        tables = [
            from_parquet(data, names, path=names_of.get(i, "a part of the manifest"))
            for i, data in enumerate(self._files)
        ]
        rest = to_table(self._leftovers)
        return pa.concat_tables([*tables, rest if names is None else rest.select(names)])

    @cached_property
    def _plain(self) -> Any:
        return self._as_they_stand(self.columns((*PLAIN, *ORDER)))

    def _as_they_stand(self, table: Any) -> Any:
        return as_rejected(without_lost(table, self.lost), self.rejected)

    @cached_property
    def _best(self) -> Any:
        """Positions of the best row of each key (numpy int64)."""
        return best_rows(self._plain, ("key",))

    @cached_property
    def _rows(self) -> list[Row]:
        table = self._plain.take(self._best)
        columns = [table[name].to_pylist() for name in PLAIN]
        return list(map(Row, self._best.tolist(), *columns))

    @cached_property
    def _by_key(self) -> dict[str, Row]:
        return {row.key: row for row in self._rows}

    @cached_property
    def _current(self) -> dict[str, Row]:
        """Latest row of each item among the best of its keys."""
        table = self._plain.take(self._best)
        return {self._rows[i].item_id: self._rows[i] for i in latest_rows(table).tolist()}

    def __len__(self) -> int:
        """Count the keys known."""
        return len(self._best)

    def keys(self) -> list[str]:
        """All keys known."""
        return list(self._by_key)

    def find(self, key: str) -> Row | None:
        """Best row of a key; None when nothing is known of it."""
        return self._by_key.get(key)

    def latest(self, item_id: str) -> Row | None:
        """Row of an item that was finished last, under whatever key; None when there is none."""
        return self._current.get(item_id)

    @cached_property
    def _by_item(self) -> dict[str, list[Row]]:
        finished = self._plain["finished_at"].take(self._best).to_pylist()
        order = sorted(zip(finished, self._rows, strict=True), key=lambda entry: entry[1].key)
        order.sort(key=lambda entry: entry[0] or "", reverse=True)
        found: dict[str, list[Row]] = {}
        for _, row in order:
            found.setdefault(row.item_id, []).append(row)
        return found

    def of_item(self, item_id: str) -> list[Row]:
        """Best row of each key of an item, the one that was finished last first."""
        return self._by_item.get(item_id, [])

    def current(self, keys: Collection[str] | None = None) -> list[Row]:
        """One row per item, the latest; or the rows of a plan's own keys. Sorted by item id."""
        if keys is None:
            chosen: Iterable[Row] = self._current.values()
        else:
            chosen = (self._by_key[key] for key in keys if key in self._by_key)
        return sorted(chosen, key=lambda row: (row.item_id, row.key))

    def table(
        self, keys: Collection[str] | None = None, columns: Sequence[str] | None = None
    ) -> Any:
        """Manifest of `current(keys)` (pyarrow.Table): all columns, or some.

        `key`, `status` and `attempt` are to be among them.
        """
        return self._as_they_stand(_take(self.columns(columns), self.current(keys)))

    def records(self, rows: Sequence[Row]) -> list[Record]:
        """All that stands of some rows, in their order."""
        return from_table(self._as_they_stand(_take(self.columns(), rows))) if rows else []

    def rejecting(self, notes: Mapping[str, str], works: Mapping[str, str]) -> "Ledger":
        """This ledger with the works of these keys rejected, each with the curator's note.

        Those without a row, as settings have changed since, get one of the last there is of their
        item (`works`: key -> item id), so that they are counted and shown, too.
        """
        new = {key: item for key, item in works.items() if self.find(key) is None}
        last = {item: row for item in new.values() if (row := self.latest(item))}
        records = dict(zip(last, self.records(list(last.values())), strict=True))
        standins = []
        for key, item in new.items():
            blank = Record(item_id=item, shard_id="review", key=key, status="skipped")
            change = {"key": key, "status": "skipped", "code": REJECTED, "retryable": False}
            standins.append(records.get(item, blank).model_copy(update=change))
        rest = [*self._leftovers, *standins]
        return Ledger(self._files, rest, self.retries, self.sources, self.lost, notes)

    def history(self, item_id: str) -> list[Record]:
        """Every attempt at one item, oldest first."""
        import pyarrow.compute as pc

        names = self._plain["item_id"]
        places = pc.indices_nonzero(pc.equal(names, item_id))
        # An attempt may be known twice: from the snapshot and from its record.
        rows = (row for row in from_table(self.columns().take(places)) if row.code != REJECTED)
        found = {row.to_bytes(): row for row in rows}.values()
        return sorted(found, key=lambda r: (r.finished_at or "", r.attempt))

    def counts(self, keys: Collection[str] | None = None) -> Counter[tuple[str, str]]:
        """How many current rows have a (status, code); the code is "" where there is none."""
        return Counter((row.status, row.code or "") for row in self.current(keys))

    def details(self, rows: Sequence[Row]) -> list[tuple[str | None, dict[str, str]]]:
        """Recorded key material (JSON) and stage keys of some rows, in their order."""
        if not rows:
            return []
        table = _take(self.columns(("material", "keys")), rows)
        maps = table["keys"].combine_chunks()
        names, values = maps.keys.to_pylist(), maps.items.to_pylist()
        ends = maps.offsets.to_pylist()
        return [
            (material, dict(zip(names[start:end], values[start:end], strict=True)))
            for material, start, end in zip(
                table["material"].to_pylist(), ends[:-1], ends[1:], strict=True
            )
        ]

    def seconds(self) -> dict[str, float]:
        """Median seconds of each timing (`t_fetch`, ...) over the rows that are done.

        That of the one which every seed takes anew (`SEEDED`) is for one seed.
        """
        import pyarrow.compute as pc

        table = self.columns(("status", "candidates", *TIMINGS))
        table = table.filter(pc.equal(table["status"], "done"))
        each = pc.divide(table[SEEDED], pc.fill_null(table["candidates"], 1))
        table = table.set_column(table.schema.get_field_index(SEEDED), SEEDED, each)
        medians = {name: pc.quantile(table[name], q=0.5)[0].as_py() for name in TIMINGS}
        return {name: value for name, value in medians.items() if value is not None}

    def seconds_per_work(self, model_identity: str) -> float | None:
        """Median seconds that a done work of that model took in all; None without any."""
        import pyarrow.compute as pc

        table = self.columns(("status", "model_identity", *TIMINGS))
        mine = pc.and_(
            pc.equal(table["status"], "done"), pc.equal(table["model_identity"], model_identity)
        )
        table = table.filter(pc.fill_null(mine, fill_value=False))
        if not table.num_rows:
            return None
        total = reduce(pc.add, (pc.fill_null(table[name], 0.0) for name in TIMINGS))
        return float(pc.quantile(total, q=0.5)[0].as_py())


def _take(table: Any, rows: Sequence[Row]) -> Any:
    """Pick rows out of a table of all rows; an empty choice has a type, too."""
    import numpy as np

    return table.take(np.array([row.place for row in rows], dtype=np.int64))
