"""What of levers can be refused before a model is loaded: by its card, by the device's name.

``epa_core.loading.place`` looks at the loaded pipeline and has the last word; a test holds the
cards against it. Importing this module imports neither torch nor diffusers.
"""

from collections.abc import Iterator

from epa_core.errors import UnsupportedError
from epa_core.levers import Levers
from epa_core.model_cards.card import ModelCard

# Attention that computes on CUDA devices alone, with the package it comes in, if any.
CUDA_PACKAGES = {"flash": "flash-attn", "xformers": "xformers", "sage": "sageattention"}
_CUDA_ONLY = (*CUDA_PACKAGES, "_flash_3", "_native_cudnn", "_native_efficient")
_WITH_STREAMS = ("cuda", "xpu")


def check_device(device: str, levers: Levers) -> None:
    """UnsupportedError for levers that a device of that name has no use for."""
    kind = device.partition(":")[0]
    if levers.offload != "none" and kind == "cpu":
        raise UnsupportedError(
            f"offload {levers.offload!r} moves modules to an accelerator, not the CPU."
        )
    if levers.offload_stream and kind not in _WITH_STREAMS:
        raise UnsupportedError(
            f"offload_stream needs the streams of CUDA, and the device is {device!r}; leave it out "
            "there."
        )
    backend = levers.quantised_attention or levers.attention
    if backend in _CUDA_ONLY and kind != "cuda":
        raise UnsupportedError(
            f"attention {backend!r} computes on CUDA devices only, and the device is {device!r}; "
            "leave it out there."
        )


def check_card(card: ModelCard, levers: Levers) -> None:
    """UnsupportedError for levers that would do nothing in, or break, the model of the card."""
    for sentence in _untaken(card, levers):
        raise UnsupportedError(sentence)


def _untaken(card: ModelCard, levers: Levers) -> Iterator[str]:
    name, takes = card.name, card.levers
    if not takes.network:
        for option in _pulled(levers):
            yield f"{name} has no network, so {option} would do nothing; leave it out."
    if levers.offload == "sequential" and not takes.sequential:
        yield (
            f"{name} reads weights outside of the layers that hold them, which offload "
            "'sequential' takes away one by one; take offload 'model', 'block' or 'leaf'."
        )
    if levers.vae_slicing and not takes.vae_slicing:
        yield (
            f"vae_slicing would do nothing for {name}, whose frames are decoded one by one, or as "
            f"one clip, as it is{_instead(card)}."
        )
    if levers.vae_tiling and not takes.vae_tiling:
        yield f"the VAE of {name} knows no tiles, so vae_tiling is not for it{_instead(card)}."
    if levers.channels_last and not takes.channels_last:
        yield (
            f"{name} has no 2-D convolutions, so channels_last would do nothing; leave it out "
            "(compile may save time)."
        )
    backend = levers.quantised_attention or levers.attention
    if backend != "native" and not takes.attention:
        yield (
            f"no attention of {name} can be switched, so attention {backend!r} would do nothing; "
            "leave it out: there torch takes the fastest kernel that fits by itself."
        )
    if levers.compile == "blocks" and not takes.compile_blocks:
        yield (
            f"diffusers names no blocks that {name} repeats; take compile: true, which compiles it "
            "whole."
        )
    cache = levers.step_cache
    if cache is not None and cache.name not in takes.step_caches:
        others = " or ".join(f"step_cache {other!r}" for other in takes.step_caches)
        yield (
            f"step_cache {cache.name!r} cannot work in {name} (docs/memory.md, step caches); take "
            f"{others or 'compile, or fewer animate.num_inference_steps, to save time'}."
        )


def _pulled(levers: Levers) -> list[str]:
    """Names of the levers that are not as usual."""
    usual = Levers()
    named = {"quantised_attention": "attention"}
    return [
        named.get(lever, lever)
        for lever in Levers.__dataclass_fields__
        if getattr(levers, lever) != getattr(usual, lever)
    ]


def _instead(card: ModelCard) -> str:
    """What else keeps the VAE's share of the memory small."""
    others = ["vae_tiling"] if card.levers.vae_tiling else []
    if card.levers.chunks:
        others.append("the option decode_chunk_size of its call (frames decoded at a time)")
    return f"; take {' or '.join(others)}" if others else ""
