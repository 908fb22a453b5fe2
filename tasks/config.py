"""The run file as one tree: what enters the keys (Recipe), and all else (RunConfig, Execution).

A field of `Recipe` or of a stage's Params changes results and therefore keys; every other field is
listed in `RUNTIME_ONLY`. A test walks the tree and fails on a field that is neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, JsonValue, field_validator, model_validator

from catalogs.storage import Storage
from epa_core import levers
from epa_core.call_options import check_described
from epa_core.cards import ModelCard, model_card, model_commit, proxy_card, proxy_commit
from epa_core.errors import UnsupportedError
from epa_core.proxy_cards import proxy_settings
from epa_core.weights import check_dtype
from tasks.animate import Params as AnimateParams
from tasks.base import Params, Settings
from tasks.distill import Params as DistillParams
from tasks.encode import Params as EncodeParams
from tasks.execution import Execution, Limits, without_credentials
from tasks.levers import StepCache
from tasks.levers import check as check_levers
from tasks.matrix import Cell, cells_of, check_matrix
from tasks.measure import Params as MeasureParams
from tasks.prepare import Params as PrepareParams
from tasks.presets import expanded
from tasks.proxy import Params as ProxyParams
from tasks.select import Params as SelectParams

__all__ = [
    "RUNTIME_ONLY",
    "Execution",
    "Limits",
    "ModelChoice",
    "Notify",
    "Prompts",
    "Recipe",
    "Report",
    "RunConfig",
    "Variant",
    "without_credentials",
]

Variant = Literal["baseline", "V", "S", "V+U", "V+S"]


class ModelChoice(Params):
    """Which image-to-video model, in which weights and precision."""

    name: str = Field("preview", description="a model of `epa models`")
    source: str | None = Field(None, description="local folder or hub id of the weights")
    revision: str | None = Field(
        None, description="commit of the hub repository; a branch: its newest one when a run starts"
    )
    dtype: Literal["float32", "float16", "bfloat16"] | None = Field(
        None, description="precision of the weights; model's own if empty"
    )
    num_frames: int | None = Field(None, ge=1, le=1000, description="model's own if empty")
    guidance_scale: float | None = Field(None, ge=0, description="model's own if empty")
    options: dict[str, JsonValue] = Field({}, description="further arguments of the model's call")
    # Levers that change results beyond rounding; off, they enter no key (tasks/levers.py).
    storage_dtype: levers.StorageDtype | None = Field(
        None,
        description="float8_e4m3fn or float8_e5m2: keep the denoiser's weights in 8 bits, cast for "
        "use; results differ visibly",
    )
    vae_tiling: bool = Field(
        False,
        description="encode and decode in tiles: less memory; results differ where a picture is "
        "larger than a tile",
    )
    attention: levers.QuantisedAttention | None = Field(
        None, description="sage: computed in 8 bits on CUDA; results differ visibly"
    )
    step_cache: StepCache = StepCache()

    @property
    def frames(self) -> int:
        """How many frames a video has: ``num_frames``, or the model's own number."""
        return self.num_frames or model_card(self.name).num_frames


class Recipe(Settings):
    """Everything that decides what a painting's video looks like."""

    seed: int = Field(0, ge=0, lt=2**63)
    variant: Variant = Field("V+S", description="the whole method, or one of its ablations")
    one_stream: bool = Field(
        False,
        description="all noise of a work from one generator at the run's seed, as the paper's "
        "released code: works of one size share their noise",
    )
    model: ModelChoice = ModelChoice()
    prepare: PrepareParams = PrepareParams()
    proxy: ProxyParams = ProxyParams()
    distill: DistillParams = DistillParams()
    animate: AnimateParams = AnimateParams()
    select: SelectParams = SelectParams()
    encode: EncodeParams = EncodeParams()
    measure: MeasureParams = MeasureParams()

    @property
    def card(self) -> ModelCard:
        """The card of the chosen model."""
        return model_card(self.model.name)

    @property
    def uses_proxy(self) -> bool:
        """Whether the variant fuses a proxy path into the painting's."""
        return self.variant in ("S", "V+U", "V+S")

    def resolved(self) -> Recipe:
        """The same recipe with the cards' defaults filled in, as it enters the keys."""
        card, maker = self.card, proxy_card(self.proxy.name)
        prepare = _filled(self.prepare, area=card.area, multiple=card.multiple)
        # A maker without a canvas of its own draws on the model's.
        canvas = prepare if maker.area is None else maker
        proxy = _filled(
            self.proxy,
            area=canvas.area,
            multiple=canvas.multiple,
            dtype=maker.dtype,
            **maker.defaults,
        )
        return self.model_copy(
            update={
                "model": _filled(self.model, num_frames=card.num_frames, dtype=card.dtype),
                "prepare": prepare,
                "proxy": proxy,
                "encode": _filled(self.encode, fps=card.fps),
            }
        )


AnyParams = TypeVar("AnyParams", bound=Params)


def _filled(params: AnyParams, **defaults: object) -> AnyParams:
    missing = {k: v for k, v in defaults.items() if getattr(params, k) is None}
    return params.model_copy(update=missing)


class Prompts(Settings):
    """Where motion prompts come from; the prompt itself enters the keys, these settings do not."""

    text: str | None = Field(None, description="one prompt for every work")
    overrides: str | None = Field(None, description="CSV or JSONL: id, artist or genre -> prompt")
    provider: Literal["template", "none"] = "template"
    max_length: int = Field(2000, ge=1, description="characters; a longer prompt is refused")


class Notify(Settings):
    """Whom to tell that too much of a run failed, or that it stopped: a block of Prefect's."""

    block: str | None = Field(
        None,
        description="a notification block by its type and name, custom-webhook/curators say",
    )
    failure_ratio: float = Field(
        0.1, ge=0, lt=1, description="tell when more of the works that a run tried failed"
    )

    @field_validator("block")
    @classmethod
    def _type_and_name(cls, block: str | None) -> str | None:
        if block is not None and not re.fullmatch(r"[a-z0-9-]+/[^/\s]+", block):
            raise ValueError("name a block as TYPE/NAME, custom-webhook/curators say")
        return block


class Report(Settings):
    """What the report at a run's end knows beside the manifest."""

    price_per_hour: float | None = Field(
        None, ge=0, le=1e6, description="what a worker costs an hour; then times are money, too"
    )
    currency: str = Field("", max_length=12, description="written after amounts: EUR")


class RunConfig(Recipe):
    """A whole run: which works, what to make of them, where to put it, how to work."""

    preset: str | None = Field(
        None, description="settings to start from: paper; any of them may be given again"
    )
    catalog: str = Field(description="catalog: Parquet, CSV, JSONL, or a folder of pictures")
    output: str = Field(description="folder or object-store URL of the collection")
    title: str = Field("", description="heading of the gallery")
    where: str | None = Field(None, description="SQL condition on catalog columns")
    limit: int | None = Field(None, ge=1, le=10**9, description="at most this many works")
    columns: dict[str, str] = Field({}, description="catalog column -> column of the given table")
    prompts: Prompts = Prompts()
    matrix: dict[str, list[JsonValue]] = Field(
        {}, description="setting by its dotted name -> values; every combination is made"
    )
    storage: Storage = Storage()
    execution: Execution = Execution()
    notify: Notify = Notify()
    report: Report = Report()

    @field_validator("catalog", "output")
    @classmethod
    def _no_credentials(cls, address: str) -> str:
        return without_credentials(address)

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, tree: Any) -> Any:
        return expanded(tree) if isinstance(tree, Mapping) else tree

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        card = model_card(self.model.name)  # raises with the nearest name
        try:
            check_described(card, self.model.options)
        except UnsupportedError as error:
            raise ValueError(f"model.options: {error}") from None
        maker = proxy_card(self.proxy.name)
        if self.model.dtype is not None:
            check_dtype("model", card, self.model.dtype)
        if self.proxy.dtype is not None:
            check_dtype("proxy", maker, self.proxy.dtype)
        if card.weights is None and (scale := self.model.guidance_scale) is not None:
            raise ValueError(
                f"model.guidance_scale = {scale:g}: the model {card.name!r} is a closed formula "
                "without guidance; leave it out"
            )
        if maker.name == "given" and (self.proxy.area or self.proxy.multiple):
            raise ValueError("proxy.area: the proxy 'given' draws on no canvas; leave it out")
        proxy_settings(maker.name, self.proxy.settings())  # raises with what is allowed
        check_levers(self.model, self.execution)  # raises what they are not for
        return self

    @model_validator(mode="after")
    def _known_cells(self) -> Self:
        if self.matrix:
            check_matrix(self)
        return self

    @property
    def name(self) -> str:
        """What people call the collection: its title, or the last part of where it lies."""
        place = self.output.rstrip("/").rpartition("/")[2]
        return self.title or place.replace("-", " ") or "animated"

    def recipe(self) -> Recipe:
        """The part that enters the keys, with defaults filled in."""
        fields = {name: getattr(self, name) for name in Recipe.model_fields}
        return Recipe.model_construct(**fields).resolved()

    def at_commits(self) -> Self:
        """The same run, the revisions it states of hub weights being commits.

        Raises UnsupportedError where that of a branch cannot be had. A proxy maker that no cell has
        a use for stays as it is.
        """
        model, maker = self.model, self.proxy
        if model.revision is not None:
            commit = model_commit(model.name, model.source, model.revision)
            model = model.model_copy(update={"revision": commit or model.revision})
        if maker.revision is not None and any(cell.recipe.uses_proxy for cell in self.cells()):
            commit = proxy_commit(maker.name, maker.source, maker.revision)
            maker = maker.model_copy(update={"revision": commit or maker.revision})
        return self.model_copy(update={"model": model, "proxy": maker})

    def cells(self) -> list[Cell]:
        """The recipes of the run's matrix, or its one recipe under no label."""
        return cells_of(self)


# Everything of a RunConfig that must not change a key.
RUNTIME_ONLY = frozenset(
    {
        *("preset", "matrix", "catalog", "output", "title", "where", "limit", "columns"),
        *("prompts", "storage", "execution", "notify", "report"),
    }
)
