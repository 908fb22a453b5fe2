"""How a run's work is done: the part of a run file that enters no key."""

from __future__ import annotations

from typing import Literal, TypeVar, get_args

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from catalogs.credentials import ADVICE, CREDENTIAL, holds_credentials
from epa_core import levers
from tasks.base import Settings

Protocol = Literal["file", "s3", "gs", "az", "hf"]
EngineName = Literal["local", "workers", "ray", "dask"]
CachedStage = Literal["prepare", "proxy", "distill", "animate"]


Address = TypeVar("Address", str, str | None)


def without_credentials(address: Address) -> Address:
    """The address, which a run file may hold only without credentials."""
    if address and holds_credentials(address):
        raise PydanticCustomError(CREDENTIAL, "an address holds credentials; " + ADVICE)
    return address


class Limits(Settings):
    """Which pictures are accepted; a refused one is recorded with its reason."""

    max_bytes: int = Field(1_000_000_000, ge=1, description="of a picture's file")
    max_pixels: int = Field(100_000_000, ge=1)
    min_side: int = Field(16, ge=1)
    max_aspect: float = Field(3.0, ge=1)
    require_rights: bool = Field(
        False, description="refuse works without a licence or rights statement in the catalog"
    )


class Execution(Settings):
    """How the work is done; nothing here changes a result."""

    engine: EngineName = Field(
        "local",
        description="who does the shards: this process, the workers of a Prefect work pool, or the "
        "tasks of a Ray or Dask cluster",
    )
    address: str | None = Field(
        None, description="a Ray or Dask cluster that runs already; a small one here if empty"
    )
    workers: int = Field(
        2, ge=1, le=1024, description="processes of the small Ray or Dask cluster without address"
    )
    deployment: str = Field(
        "animate-shard/animate-shard",
        pattern=r"^[^/]+/[^/]+$",
        description="which deployment does a shard, with the engine workers",
    )
    worker_wait: float = Field(
        15, gt=0, le=10_080, description="minutes without any worker after which a run ends"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:0 ...")
    batch_size: int | None = Field(
        None, ge=1, le=256, description="paintings in one model call; 1 on a CPU, 2 on a GPU"
    )
    shard_size: int = Field(
        48,
        ge=1,
        le=10_000,
        description="paintings in one task run; more where a run has over 12,000",
    )
    shard_minutes: float | None = Field(
        None,
        gt=0,
        le=10_080,
        description="instead of shard_size, once works of this model are recorded: how long a task "
        "run takes at most, about",
    )
    queue_depth: int = Field(2, ge=1, le=64, description="paintings fetched or encoded ahead")
    max_attempts: int = Field(
        3, ge=1, description="tries of a work that failed for a passing cause"
    )
    max_failure_ratio: float | None = Field(
        0.2,
        gt=0,
        le=1,
        description="stop the run when more of its works fail, once 50 have ended; null: never",
    )
    lease_seconds: float = Field(
        600,
        ge=1,
        le=86_400,
        description="another worker takes over the shard of one not heard of for so long",
    )
    stalled_after: float | None = Field(
        7200,
        ge=1,
        description="end a process whose works hang: none has begun or ended for so many seconds",
    )
    recycle_after: int | None = Field(
        None, ge=1, description="work in a process of its own, a new one after so many works"
    )
    protocols: tuple[Protocol, ...] = Field(
        get_args(Protocol), description="where pictures and tables may lie"
    )
    offload: levers.Offload = Field(
        "none",
        description="what waits in main memory until it is needed: whole models, layers "
        "(sequential), the denoiser's blocks or leaf layers (docs/memory.md)",
    )
    offload_blocks: int = Field(1, ge=1, le=1000, description="blocks that come together, of block")
    offload_stream: bool = Field(
        False, description="fetch the next block or layer beside the work (CUDA)"
    )
    vae_slicing: bool = Field(
        False, description="decode one frame at a time: less memory, for VAEs of pictures"
    )
    channels_last: bool = Field(
        False, description="memory layout of 2-D convolutions; faster on some GPUs"
    )
    compile: levers.Compile = Field(
        False,
        description="torch.compile of the denoiser, once per size: true, or blocks (only the one "
        "it repeats: compiled sooner)",
    )
    attention: levers.ExactAttention = Field(
        "native",
        description="diffusers' backend, where it can be chosen; rounding differs",
    )
    keep: tuple[CachedStage, ...] = Field(
        get_args(CachedStage), description="stages whose intermediates are cached"
    )
    limits: Limits = Limits()
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="serve figures for Prometheus there, or at the next port that is free",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("address")
    @classmethod
    def _no_credentials(cls, address: str | None) -> str | None:
        return without_credentials(address)
