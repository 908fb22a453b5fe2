"""The VAE's share of the memory: frames one by one, or each in tiles."""

import inspect
from typing import Any

from epa_core.errors import UnsupportedError


def can_slice(pipeline: Any) -> bool:
    """Whether slicing would change how the VAE works: it takes several pictures in one call.

    A video VAE gets one clip at a time as it is, and some pipelines decode frame by frame.
    """
    from epa_core.families import family_of

    several = not family_of(pipeline).video_vae and _default_chunk(pipeline) != 1
    return hasattr(pipeline.vae, "use_slicing") and several


def enable_slicing(pipeline: Any) -> None:
    """Decode frame by frame. UnsupportedError where that is not possible, or nothing new."""
    if can_slice(pipeline):
        pipeline.vae.enable_slicing()
        return
    name = type(pipeline.vae).__name__
    if hasattr(pipeline.vae, "use_slicing"):
        raise UnsupportedError(
            f"{name} gets one clip or frame at a time as it is, so vae_slicing would do nothing; "
            "take vae_tiling."
        )
    raise UnsupportedError(
        f"{name} cannot decode in slices; vae_slicing is not for it{_instead(pipeline)}."
    )


def enable_tiling(pipeline: Any) -> None:
    """Encode and decode in tiles. UnsupportedError where the VAE knows none."""
    if not hasattr(pipeline.vae, "use_tiling"):
        raise UnsupportedError(
            f"{type(pipeline.vae).__name__} knows no tiles; vae_tiling is not for it"
            f"{_instead(pipeline)}."
        )
    pipeline.vae.enable_tiling()


def _instead(pipeline: Any) -> str:
    if _default_chunk(pipeline) is inspect.Parameter.empty:
        return ""
    return ", but the option decode_chunk_size of its call is (frames decoded at a time)"


def _default_chunk(pipeline: Any) -> Any:
    """The default of the call's ``decode_chunk_size``; ``Parameter.empty`` if it takes none."""
    parameters = inspect.signature(type(pipeline).__call__).parameters
    chunk = parameters.get("decode_chunk_size")
    return inspect.Parameter.empty if chunk is None else chunk.default
