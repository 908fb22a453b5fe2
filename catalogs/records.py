"""The record: one small object per attempt at a work, written last. The record is the commit.

An output exists only when a record names it. Records are created, never replaced: whoever comes
second reads what stands. The same fields are the columns of the manifest (Parquet, zstd), with the
schema's version in the file's metadata; a reader takes what it knows, older or newer.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Literal, get_args

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict

from catalogs import paths
from catalogs.arrow_bytes import arrow_reader
from catalogs.errors import DamagedError, StoreError
from catalogs.store import Store

SCHEMA_VERSION = 1
VERSION_NAME = b"epa.manifest.version"
MESSAGE_LENGTH = 200
Status = Literal["done", "failed", "skipped", "quarantined"]
STATUSES: tuple[Status, ...] = get_args(Status)
TIMINGS = ("t_fetch", "t_prepare", "t_proxy", "t_distill", "t_animate", "t_encode", "t_upload")

_log = logging.getLogger(__name__)


def utc_text(moment: datetime | str) -> str:
    """Write a moment as `2026-01-31T12:00:00.000000Z`: fixed width, so text sorts as time does."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def utc_now() -> str:
    """Write the present moment as records hold it."""
    return utc_text(datetime.now(UTC))


Moment = Annotated[str, BeforeValidator(utc_text)]
Message = Annotated[str, BeforeValidator(lambda text: str(text)[:MESSAGE_LENGTH])]


class Output(BaseModel):
    """One file of a result: its name, path under the root, SHA-256 in hex and bytes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    path: str
    sha256: str
    bytes: int


class Record(BaseModel):
    """What became of one attempt at one work: a row of the manifest.

    `keys` maps stages to keys in pipeline order, `key` is the last of them. Times `t_*` are in
    seconds, `peak_memory` and `*_bytes` in bytes, `duration` in seconds, moments in UTC.
    `peak_memory`: what tensors held at most, weights included, on the GPU that the work's batches
    ran on while they did; None without a GPU.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    schema_version: int = SCHEMA_VERSION
    item_id: str
    shard_id: str
    key: str
    keys: dict[str, str] = {}
    status: Status
    code: str | None = None
    message: Message | None = None
    stage_failed: str | None = None
    retryable: bool = False
    attempt: int = 1
    crash_count: int = 0

    outputs: tuple[Output, ...] = ()
    frames_sha256: str | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    fps: float | None = None
    duration: float | None = None
    codec: str | None = None
    loop: str | None = None

    source_uri: str | None = None
    source_sha256: str | None = None
    source_bytes: int | None = None
    source_width: int | None = None
    source_height: int | None = None
    rights: str | None = None
    license: str | None = None
    artist: str | None = None
    title: str | None = None
    style: str | None = None
    genre: str | None = None
    year: int | None = None

    prompt: str | None = None
    prompt_source: str | None = None
    prompt_rule: str | None = None
    prompt_cut: str | None = None
    proxy_prompt_cut: str | None = None
    seed: int | None = None
    candidate: int | None = None  # which of the seeds tried was kept, from 0
    candidates: int | None = None  # how many were tried
    candidate_score: float | None = None
    candidates_tried: str | None = None  # JSON, of each: seed, flag, score, measures, or failure
    variant: str | None = None
    cell: str | None = None
    model: str | None = None
    model_identity: str | None = None
    proxy: str | None = None
    proxy_identity: str | None = None
    material: str | None = None
    config_digest: str | None = None
    code_version: str | None = None
    strict_numerics: bool = False
    ai_marking: bool | None = None

    t_fetch: float | None = None
    t_prepare: float | None = None
    t_proxy: float | None = None
    t_distill: float | None = None
    t_animate: float | None = None
    t_encode: float | None = None
    t_upload: float | None = None
    device: str | None = None
    peak_memory: int | None = None
    batch_size: int | None = None
    torch: str | None = None
    worker: str | None = None
    started_at: Moment | None = None
    finished_at: Moment | None = None

    motion: float | None = None
    motion_top5: float | None = None
    first_frame_ssim: float | None = None
    blend_share: float | None = None
    flicker: float | None = None
    drift: float | None = None
    loop_seam: float | None = None
    flag: str | None = None

    @property
    def path(self) -> str:
        """Where the record lies in the store."""
        return paths.record(self.shard_id, self.key, self.attempt)

    def to_bytes(self) -> bytes:
        """Write the record as JSON; fields without a value are left out."""
        return self.model_dump_json(exclude_none=True).encode()


def parse(data: bytes) -> Record | None:
    """Read a record of this or another schema version; None when the bytes are damaged."""
    try:
        return Record.model_validate_json(data)
    except pydantic.ValidationError:
        return None


def commit(store: Store, record: Record) -> Record:
    """Commit an attempt with one create-only request; give back the record that stands.

    Where one stands already (an answer was lost, or another worker was first) that one counts; if
    it has the same outputs it is our own. Only a result is never given up for somebody else's
    failure: it is then committed as the next attempt.
    """
    for _ in range(100):
        if store.create(record.path, record.to_bytes(), "application/json"):
            return record
        data = store.get(record.path)
        if data is None:  # sealed and removed since: write ours again, the ledger merges both
            continue
        stands = parse(data)
        if stands is None:
            _log.warning("the record %s is damaged and is written anew", record.path)
            store.put(record.path, record.to_bytes(), "application/json")
            return record
        if stands.status == "done" or record.status != "done":
            return stands
        record = record.model_copy(update={"attempt": record.attempt + 1})
    raise StoreError(f"the record {record.path} in {store.url} cannot be committed")


_ARROW = {"str": "string", "int": "int64", "float": "float64", "bool": "bool"}


@cache
def manifest_schema() -> Any:
    """Give the manifest's pyarrow.Schema: one column per field of `Record`, in its order."""
    import pyarrow as pa

    output = pa.struct(
        [
            ("name", pa.string()),
            ("path", pa.string()),
            ("sha256", pa.string()),
            ("bytes", pa.int64()),
        ]
    )
    special = {"keys": pa.map_(pa.string(), pa.string()), "outputs": pa.list_(output)}
    fields = []
    for name, field in Record.model_fields.items():
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if kind in _PLAIN]
        plain = pa.type_for_alias(_ARROW[kinds[0].__name__]) if kinds else pa.string()
        fields.append(pa.field(name, special.get(name, plain)))
    return pa.schema(fields, metadata={VERSION_NAME: str(SCHEMA_VERSION)})


_PLAIN = (str, int, float, bool)


def to_table(records: Iterable[Record]) -> Any:
    """Make a pyarrow.Table of `manifest_schema()`, rows in the order given."""
    import pyarrow as pa

    schema = manifest_schema()
    rows = [record.model_dump() for record in records]
    columns = [
        pa.array([_cell(row[field.name]) for row in rows], type=field.type) for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _cell(value: Any) -> Any:
    """Arrow takes maps as pairs, so that their order stays."""
    return list(value.items()) if isinstance(value, dict) else value


def from_table(table: Any) -> list[Record]:
    """Read rows of this or another schema version back into records."""
    rows = conform(table).to_pylist(maps_as_pydicts="strict")
    return [
        Record.model_validate({name: cell for name, cell in row.items() if cell is not None})
        for row in rows
    ]


def conform(table: Any, columns: Sequence[str] | None = None) -> Any:
    """Bring a table of any schema version to this one: missing columns null, unknown ones out."""
    import pyarrow as pa

    schema = manifest_schema()
    if columns is not None:
        schema = pa.schema([schema.field(name) for name in columns], metadata=schema.metadata)
    known = set(table.column_names)
    arrays = [
        table[field.name].cast(field.type)
        if field.name in known
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def to_parquet(table: Any) -> bytes:
    """Write a manifest table as Parquet (zstd, checksums): the same rows give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", store_schema=True, write_page_checksum=True)
    return bytes(sink.getvalue())


def from_parquet(
    data: bytes, columns: Sequence[str] | None = None, *, path: str = "the manifest file"
) -> Any:
    """Read a manifest file of any schema version, all columns of this one or only those named.

    DamagedError in one sentence, which names `path`, for a file that is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(arrow_reader(data), page_checksum_verification=True)
        known = set(file.schema_arrow.names)
        wanted = manifest_schema().names if columns is None else list(columns)
        table = file.read(columns=[name for name in wanted if name in known])
        return conform(table, columns)
    # Arrow's own errors, and what its Python parts make of damaged names and types.
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise DamagedError(f"{path} is damaged, it is no readable manifest: {reason}") from error
