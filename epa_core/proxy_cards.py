"""The proxy makers that a run may name, what each needs, and how to load one.

Reading the cards imports neither torch nor diffusers; ``load_proxy`` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from epa_core import weights
from epa_core.errors import UnsupportedError
from epa_core.proxies.settings import checked

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class ProxyCard:
    """One way to make the proxy image, the painting repainted under its motion prompt.

    It draws on a canvas of its own, ``area`` pixels with sides that are multiples of ``multiple``
    (None: on the video model's canvas). ``defaults`` are its settings and their defaults; without
    any it takes no settings. ``dtype`` is what its weights are meant to be loaded in; ``memory``
    is an estimate in words; ``saved_as`` are further classes that the ``model_index.json`` of its
    weights may name. ``version`` is part of cache keys: raise it whenever the same input would give
    other proxies. ``loader`` names the function (card, folder or hub id, revision, dtype, device,
    settings) that loads the maker, or the class of one without weights; None where none draws.
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
    version: str = "1"
    loader: str | None = None


PROXIES: dict[str, ProxyCard] = {
    "preview": ProxyCard(
        name="preview",
        summary="Repaints tones, colours and edges as the prompt's words suggest; no weights",
        weights=None,
        revision=None,
        licence="Apache-2.0",
        memory="under 1 GiB",
        uses_text=True,
        loader="epa_core.proxies.preview.PreviewProxy",
    ),
    "given": ProxyCard(
        name="given",
        summary="Takes the image that the catalog's proxy_uri names",
        weights=None,
        revision=None,
        licence="that of the given image",
        memory="none",
        uses_text=False,
        version="2",
    ),
    "none": ProxyCard(
        name="none",
        summary="No proxy: the painting stands on both paths",
        weights=None,
        revision=None,
        licence="not applicable",
        memory="none",
        uses_text=False,
        loader="epa_core.proxies.none.NoProxy",
    ),
    "sdxl-refiner": ProxyCard(
        name="sdxl-refiner",
        summary="SDXL refiner, image-to-image, 2.3 B, at a megapixel; the paper's own choice",
        weights="stabilityai/stable-diffusion-xl-refiner-1.0",
        revision=None,
        licence="CreativeML Open RAIL++-M (recalled; see the model's page)",
        memory="estimate: 6.3 GB of weights in float16 (the VAE in float32); 3.0 GiB more while it "
        "decodes, about 11 GB in all for eight paintings of 1024x1024",
        uses_text=True,
        # The refiner was trained at a megapixel: twice the sides of a 512x512 canvas.
        area=1024 * 1024,
        multiple=16,
        dtype="float16",
        # The paper gives none. Strength 0.5 is the low end of what its one shipped proxy suggests;
        # the rest are the pipeline's own.
        defaults={
            "strength": 0.5,
            "num_inference_steps": 50,
            "guidance_scale": 5.0,
            "aesthetic_score": 6.0,
            "negative_aesthetic_score": 2.5,
            "negative_prompt": "",
        },
        pipeline_class="diffusers.StableDiffusionXLImg2ImgPipeline",
        saved_as=("StableDiffusionXLPipeline",),  # SDXL base too: told apart when loading
        loader="epa_core.proxies.sdxl_refiner.load_sdxl_refiner",
    ),
    "instruct-pix2pix": ProxyCard(
        name="instruct-pix2pix",
        summary="InstructPix2Pix, 0.9 B, at 512x512: follows instructions; no safety checker",
        weights="timbrooks/instruct-pix2pix",
        revision=None,
        licence="code MIT, weights as Stable Diffusion 1.5: CreativeML Open RAIL-M "
        "(recalled; see the model's page)",
        memory="estimate: 2.1 GB of weights in float16, 0.2 GiB more per painting of a batch and "
        "0.4 GiB while it decodes, at 512x512",
        uses_text=True,
        area=512 * 512,
        multiple=8,
        dtype="float16",
        defaults={
            "num_inference_steps": 100,
            "guidance_scale": 7.5,
            "image_guidance_scale": 1.5,
            "negative_prompt": "",
        },
        pipeline_class="diffusers.StableDiffusionInstructPix2PixPipeline",
        loader="epa_core.proxies.instruct_pix2pix.load_instruct_pix2pix",
    ),
}


class Proxy(Protocol):
    """Makes proxy images."""

    def make(
        self, images: list["Image.Image"], prompts: list[str], seeds: list[int]
    ) -> list["Image.Image"]:
        """Return one RGB proxy per image, of the same size; the images are all of one size."""
        ...

    def configured(self, settings: Mapping[str, Any]) -> "Proxy":
        """Return a maker of the same weights with other settings, whole (``proxy_settings``)."""
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
    """Return the named proxy maker, on ``device``.

    ``source`` is a local folder in the layout of diffusers or a hub id (at a stated ``revision``);
    None means the card's weights. ``dtype`` None means the card's. ``settings`` overlay the card's
    ``defaults``. Built-in makers take float32 alone and heed no device.

    UnsupportedError for an unknown name or setting, a value out of range, weights that cannot be
    had or are another model's, and for "given": those pictures come with the catalog.
    """
    card = proxy_card(name)
    dtype = dtype or card.dtype
    weights.check_dtype("proxy", card, dtype)
    call = proxy_settings(name, settings)
    where, pinned = weights.resolve("proxy", PROXIES, card, source, revision)
    if card.loader is None:
        raise UnsupportedError(
            f"The proxy {name!r} makes no pictures; it stands for those that the catalog's "
            "proxy_uri names."
        )
    load = weights.imported(card.loader)
    maker: Proxy = load() if where is None else load(card, where, pinned, dtype, device, call)
    return maker


def proxy_settings(name: str, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the card's defaults overlaid with ``settings``, without loading anything.

    UnsupportedError for an unknown setting or a value out of range.
    """
    return checked(name, proxy_card(name).defaults, settings or {})


def proxy_commit(name: str, source: str | None, revision: str | None) -> str | None:
    """Return the commit that this proxy's revision stands for now; None without hub weights.

    Same errors as ``load_proxy``, and UnsupportedError where the hub cannot be asked.
    """
    card = proxy_card(name)
    return weights.commit("proxy", card, *weights.resolve("proxy", PROXIES, card, source, revision))


def proxy_identity(name: str, source: str | None = None, revision: str | None = None) -> str:
    """Return what tells this proxy's results from any other's, for cache keys.

    ``name@<version>``, followed by the identity of the weights where it has any. Same errors as
    ``load_proxy``.
    """
    card = proxy_card(name)
    where, pinned = weights.resolve("proxy", PROXIES, card, source, revision)
    version = f"{name}@{card.version}"
    return version if where is None else f"{version} {weights.identity(where, pinned)}"
