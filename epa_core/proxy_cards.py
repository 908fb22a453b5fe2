"""The proxy makers that a run may name, what each needs, and how to load one.

Reading the cards imports neither torch nor diffusers; ``load_proxy`` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from epa_core import weights
from epa_core.errors import UnsupportedError

if TYPE_CHECKING:
    from PIL import Image

# Parts of cache keys: raise one whenever the same input would give other proxies.
VERSIONS = {"preview": "1", "given": "1", "none": "1"}


@dataclass(frozen=True)
class ProxyCard:
    """One way to make the proxy image, the painting repainted under its motion prompt.

    It draws on a canvas of its own, ``area`` pixels with sides that are multiples of ``multiple``
    (None: on the video model's canvas). ``defaults`` are its settings and their defaults; without
    any it takes no settings. ``dtype`` is what its weights are meant to be loaded in; ``memory``
    is an estimate in words; ``saved_as`` are further classes that the ``model_index.json`` of its
    weights may name.
    """

    name: str
    summary: str
    weights: str | None
    revision: str | None
    licence: str
    memory: str
    uses_text: bool
    area: int | None = None
    multiple: int = 8
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    defaults: Mapping[str, float | int | str] = field(default_factory=dict)
    pipeline_class: str | None = None
    saved_as: tuple[str, ...] = ()


PROXIES: dict[str, ProxyCard] = {
    "preview": ProxyCard(
        name="preview",
        summary="Repaints tones, colours and edges as the prompt's words suggest; no weights",
        weights=None,
        revision=None,
        licence="Apache-2.0",
        memory="under 1 GiB",
        uses_text=True,
    ),
    "given": ProxyCard(
        name="given",
        summary="Takes the image that the catalog's proxy_uri names",
        weights=None,
        revision=None,
        licence="that of the given image",
        memory="none",
        uses_text=False,
    ),
    "none": ProxyCard(
        name="none",
        summary="No proxy: the painting stands on both paths",
        weights=None,
        revision=None,
        licence="not applicable",
        memory="none",
        uses_text=False,
    ),
}


class Proxy(Protocol):
    """Makes proxy images."""

    def make(
        self, images: list["Image.Image"], prompts: list[str], seeds: list[int]
    ) -> list["Image.Image"]:
        """Return one RGB proxy per image, of the same size; the images are all of one size."""
        ...

    def cut_off(self, prompt: str) -> str:
        """Return the tail of ``prompt`` that the maker does not read; "" where it reads all."""
        ...


def proxy_card(name: str) -> ProxyCard:
    """Return the card of a proxy; UnsupportedError names the nearest one when there is none."""
    return weights.lookup(PROXIES, "proxy", name)


def load_proxy(
    name: str,
    *,
    source: str | None = None,
    revision: str | None = None,
    dtype: str | None = None,
    device: str = "cpu",
    settings: Mapping[str, Any] | None = None,
) -> Proxy:
    """Return the named proxy; UnsupportedError names the nearest one when there is none.

    UnsupportedError also for "given": those pictures come with the catalog and need no maker.
    """
    card = proxy_card(name)
    weights.resolve("proxy", PROXIES, card, source, revision)
    if card.name == "preview":
        from epa_core.proxies.preview import PreviewProxy

        return PreviewProxy()
    if card.name == "given":
        raise UnsupportedError(
            "The proxy 'given' makes no pictures; it stands for those that the catalog's "
            "proxy_uri names."
        )
    from epa_core.proxies.none import NoProxy

    return NoProxy()


def proxy_identity(name: str, source: str | None = None, revision: str | None = None) -> str:
    """Return what tells this proxy's results from any other's, for cache keys.

    ``name@<version>``, followed by the identity of the weights where it has any. Same errors as
    ``load_proxy``.
    """
    card = proxy_card(name)
    where, pinned = weights.resolve("proxy", PROXIES, card, source, revision)
    version = f"{name}@{VERSIONS[name]}"
    return version if where is None else f"{version} {weights.identity(where, pinned)}"
