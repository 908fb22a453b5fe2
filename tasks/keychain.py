"""The chained keys of every work, from catalog and recipe alone.

    source -> prepare.proxy -> proxy -> distill.proxy --+
          |                                  |           +-> animate -> encode -> measure
          +-> prepare -----------------------+-> distill.real

Where several seeds are tried, a stage `select` lies between animate (candidate 0) and encode.

A stage's key covers its VERSION, its Params, the model it runs, its seed and the keys of its
inputs, so a changed setting changes exactly the keys downstream of it. Which links exist depends
on the variant: the baseline has neither proxy nor distillation. A proxy maker with a canvas of its
own (prepare.proxy) has keys that no video model enters, so one proxy serves every model.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from functools import cached_property
from typing import Any

from catalogs.keys import StageKeyer, derive_seed
from epa_core.cards import model_identity, proxy_identity
from epa_core.errors import UnsupportedError
from tasks import animate, distill, encode, measure, prepare, proxy, select
from tasks.config import Recipe
from tasks.levers import KEYED, keyed

# Catalog columns that decide a result: the picture, the prompts, the files' tags.
SOURCE_COLUMNS = ("image_uri", "image_sha256", "image_bytes")
PROMPT_COLUMNS = ("prompt", "proxy_prompt")
TAG_COLUMNS = ("title", "artist", "rights_statement", "license")
OWN_COLUMNS = ("mask_uri", "motion_strength", "negative_prompt")  # that some models read
COLUMNS = (
    *("id", "take", "proxy_uri", "extra"),
    *SOURCE_COLUMNS,
    *PROMPT_COLUMNS,
    *OWN_COLUMNS,
    *TAG_COLUMNS,
)

Row = Mapping[str, Any]


class KeyChain:
    """Makes the keys of every work under one recipe."""

    def __init__(self, recipe: Recipe):
        self.recipe = recipe.resolved()
        self.model = model_identity(
            recipe.model.name, source=recipe.model.source, revision=recipe.model.revision
        )
        self.proxy = ""
        self._prepare_keys()

    def under(self, recipe: Recipe) -> KeyChain:
        """The chain of another recipe for the same model and proxy maker, not identified anew."""
        other = copy(self)
        other.__dict__.pop("_settings", None)
        other.recipe = recipe.resolved()
        other._prepare_keys()
        return other

    def _prepare_keys(self) -> None:
        maker = self.recipe.proxy
        if not self.proxy:
            try:
                self.proxy = proxy_identity(maker.name, maker.source, maker.revision)
            except UnsupportedError:
                if self.recipe.uses_proxy:  # a baseline runs without the maker's weights
                    raise
        self._keyers = self._make_keyers()

    def keys(self, row: Row) -> dict[str, str]:
        """Stage -> key, in pipeline order; the last one is the work's own key."""
        keys: dict[str, str] = {}

        def add(stage: str, **inputs: str) -> None:
            seed = self.seed(row, stage) if stage in _SEEDED else None
            keys[stage] = self._keyers[stage].key(inputs, seed=seed)

        prompt, read = row["prompt"] or "", self.own(row)
        tags = {name: row[name] or "" for name in TAG_COLUMNS}
        # A prompt that the model does not read is in the files' tags alone.
        (read if self.recipe.card.uses_text else tags)["prompt"] = prompt
        add("prepare", source=source_identity(row))
        paths = {"prepare": keys["prepare"]}
        fitted = {}
        if self.recipe.uses_proxy:
            painting = keys["prepare"]
            if self.own_canvas:
                add("prepare.proxy", source=source_identity(row))
                painting, fitted = keys["prepare.proxy"], {"canvas": keys["prepare"]}
            given = {"given": given_proxy(row)} if self.recipe.proxy.name == "given" else {}
            text = row["proxy_prompt"] or prompt
            add("proxy", prepare=painting, prompt=text, **given)
        if self.recipe.variant != "baseline":
            add("distill.real", image=keys["prepare"], **read)
            paths["real"] = keys["distill.real"]
        if self.recipe.uses_proxy:
            add("distill.proxy", image=keys["proxy"], **read, **fitted)
            paths["proxy"] = keys["distill.proxy"]
        add("animate", **paths, **read)
        if self.recipe.one_stream:  # seeds do not tell works apart then, and a key names one work
            tags["item"] = row["id"]
        chosen = keys["animate"]
        if self.recipe.select.active:
            add("select", animate=chosen)
            chosen = keys["select"]
        add("encode", animate=chosen, **tags)
        add("measure", encode=keys["encode"])
        return keys

    @property
    def own_canvas(self) -> bool:
        """Whether the proxy is drawn at another size than the video."""
        proxy, prepare = self.recipe.proxy, self.recipe.prepare
        return (proxy.area, proxy.multiple) != (prepare.area, prepare.multiple)

    def own(self, row: Row) -> dict[str, str]:
        """What the model reads of this work alone; the mask by its digest."""
        found = {name: row[name] for name in self.recipe.card.per_work}
        if found.get("mask_uri"):
            found["mask_uri"] = given_mask(row)
        if found.get("motion_strength"):
            found["motion_strength"] = plain_number(found["motion_strength"])
        return {name: value for name, value in found.items() if value}

    def seed(self, row: Row, stage: str, candidate: int = 0) -> int:
        """Seed of one stage of one work; independent of shard, batch and worker.

        Those of further candidates follow from candidate 0's, which is in the stage's key. Under
        ``one_stream`` they are the run's seed and the next ones, as one would try them by hand.
        """
        take = row.get("take") or 0  # how often a curator wanted another one
        if self.recipe.one_stream:  # a take begins behind all candidates of the one before
            return (self.recipe.seed + candidate + take * select.MOST) % 2**63
        seed = derive_seed(self.recipe.seed, row["id"], stage, take)
        return derive_seed(seed, row["id"], f"{stage}.{candidate}") if candidate else seed

    def material(self, row: Row) -> dict[str, Any]:
        """What went into the keys, flat, for `epa plan` and `epa why` to say what changed."""
        facts: dict[str, Any] = {"source": source_identity(row), "prompt": row["prompt"]}
        facts |= {name: row[name] for name in ("proxy_prompt", *TAG_COLUMNS)}
        if self.recipe.proxy.name == "given":
            facts["given_proxy"] = given_proxy(row)
        facts |= self.own(row)
        if row.get("take"):
            facts["take"] = row["take"]
        return facts | self._settings

    @property
    def constants(self) -> dict[str, Any]:
        """All that enters the keys beside the rows."""
        facts = {**self._settings, "per_work": list(self.recipe.card.per_work)}
        if not self.recipe.card.uses_text:
            facts["uses_text"] = False
        if self.recipe.select.active:
            facts |= {"select.version": select.VERSION, "select": self.recipe.select.material()}
        return facts

    @property
    def configuration(self) -> bytes:
        """The recipe as JSON, whose digest names the configuration in files and records.

        What is off is left out, so that collections from before it existed keep that name.
        """
        unused: dict[str, Any] = {} if self.recipe.select.active else {"select": True}
        if not keyed(self.recipe.model):
            unused["model"] = set(KEYED)
        return self.recipe.model_dump_json(exclude=unused).encode()

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """The part of the material that all works share."""
        facts: dict[str, Any] = {
            "model.identity": self.model,
            "proxy.identity": self.proxy,
            "run.seed": self.recipe.seed,
            "run.variant": self.recipe.variant,
            "run.one_stream": self.recipe.one_stream,
        }
        for stage, version in _VERSIONS.items():
            facts[f"{stage}.version"] = version
            params: Any = getattr(self.recipe, stage)
            dumped = params.model_dump(mode="json", exclude=_PLACE)
            facts |= {f"{stage}.{k}": v for k, v in dumped.items()}
        # Only what is not as usual: works of earlier versions have nothing of it in theirs.
        usual = select.Params()
        for name, value in self.recipe.select.material().items():
            if value != getattr(usual, name):
                facts[f"select.{name}"] = value
        model = self.recipe.model.model_dump(mode="json", exclude={*_PLACE, *KEYED})
        model |= keyed(self.recipe.model)
        return facts | {f"model.{k}": v for k, v in model.items()}

    def _make_keyers(self) -> dict[str, StageKeyer]:
        recipe = self.recipe
        # Names and revisions are in the identities; the place on this machine is no matter.
        call = recipe.model.model_dump(mode="json", exclude={"name", *_PLACE, *KEYED})
        drawn = recipe.proxy.model_dump(mode="json", exclude={"name", *_PLACE, *_CANVAS})
        stream = {"one_stream": True} if recipe.one_stream else {}
        distil = {**recipe.distill.model_dump(mode="json"), "call": call, **stream}
        distil["call"] = call | keyed(recipe.model, "distill")
        # Ablation S uses the static latents: nothing of the distillation matters to it.
        if recipe.variant == "S":
            tiles = {"vae_tiling": True} if recipe.model.vae_tiling else {}
            distil = {"static": True, "call": call | tiles}
        final = {
            **recipe.animate.model_dump(mode="json", exclude=_unused(recipe)),
            "variant": recipe.variant,
            "call": call | keyed(recipe.model, "animate"),
            **stream,
        }
        canvas = recipe.prepare.model_dump(mode="json")
        own_canvas = recipe.proxy.model_dump(mode="json", include=_CANVAS)
        chosen = {**recipe.select.material(), "measure": measure.VERSION}  # the judge
        return {
            "prepare": _keyer("prepare", prepare.VERSION, canvas),
            "prepare.proxy": _keyer("prepare", prepare.VERSION, own_canvas),
            "proxy": _keyer("proxy", proxy.VERSION, drawn, self.proxy),
            "distill.real": _keyer("distill", distill.VERSION, distil, self.model),
            "distill.proxy": _keyer("distill", distill.VERSION, distil, self.model),
            "animate": _keyer("animate", animate.VERSION, final, self.model),
            "select": _keyer("select", select.VERSION, chosen),
            "encode": _keyer("encode", encode.VERSION, recipe.encode.model_dump(mode="json")),
            "measure": _keyer("measure", measure.VERSION, recipe.measure.model_dump(mode="json")),
        }


def _unused(recipe: Recipe) -> set[str]:
    """Settings of the final run that its variant makes no use of."""
    unused = {"kappa0"} if recipe.variant == "baseline" else set()
    return unused if recipe.variant in ("S", "V+S") else {*unused, "half_slerp"}


def plain_number(text: str) -> str:
    """`8`, `8.0` and ` 8` are one strength; every digit that is computed with tells two apart."""
    try:
        return repr(float(text)).removesuffix(".0")
    except ValueError:
        return text


_PLACE = {"source", "revision"}
_CANVAS = {"area", "multiple"}
_SEEDED = frozenset({"proxy", "distill.real", "distill.proxy", "animate"})
_VERSIONS = {
    "prepare": prepare.VERSION,
    "proxy": proxy.VERSION,
    "distill": distill.VERSION,
    "animate": animate.VERSION,
    "encode": encode.VERSION,
    "measure": measure.VERSION,
}


def source_identity(row: Row) -> str:
    """The picture's own digest where the catalog has it, else its place and size."""
    if row["image_sha256"]:
        return f"sha256:{row['image_sha256']}"
    return f"{row['image_uri']}#{row['image_bytes'] or ''}"


def given_mask(row: Row) -> str:
    """The digest of the mask that the catalog names, where the builder took it, else its place."""
    return dict(row["extra"] or ()).get("mask_sha256") or row["mask_uri"]


def given_proxy(row: Row) -> str:
    """The digest of the proxy that the catalog names, where the builder took it, else its place."""
    return dict(row["extra"] or ()).get("proxy_sha256") or row["proxy_uri"] or ""


def _keyer(stage: str, version: int, params: Mapping[str, Any], model: str = "") -> StageKeyer:
    return StageKeyer(stage, version, params=params, model=model or None)
