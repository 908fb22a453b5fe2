"""Every Painting Awakened (arXiv 2503.23736) on an unmodified diffusers image-to-video pipeline.

    static   z = latents of the painting, repeated over the frames
    distil   z_real, z_proxy: VSDS on each path, conditioned on its own image
    fuse     frame l takes beta_l = l / (L - 1) of the way from z_real to z_proxy
    animate  noise to t0, then denoise conditioned on the painting

``awaken`` is all of it in one call; the stages, for callers that keep what lies between them, are
those of ``epa_core.stages``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PIL import Image
from torch import Tensor

from epa_core.errors import UnsupportedError
from epa_core.families import CallSettings, family_of
from epa_core.media.images import canvas_size, fit
from epa_core.runner import Batch, Draw, PathSeeds, Seed, path_seeds
from epa_core.settings import EPASettings
from epa_core.stages import (
    Frames,
    animate_latents,
    check_call,
    decode_latents,
    distill_latents,
    proxy_extras,
    static_latents,
    unread,
)

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

__all__ = [
    "CallSettings",
    "Draw",
    "EPASettings",
    "PathSeeds",
    "Seed",
    "animate_latents",
    "awaken",
    "check_call",
    "decode_latents",
    "distill_latents",
    "path_seeds",
    "proxy_extras",
    "static_latents",
    "unread",
]


def awaken(
    pipeline: "DiffusionPipeline",
    painting: Image.Image | Sequence[Image.Image],
    proxy: Image.Image | Sequence[Image.Image] | None = None,
    *,
    prompt: str | Sequence[str],
    seed: int | Sequence[int] = 0,
    settings: EPASettings | None = None,
    num_frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    guidance_scale: float | None = None,
    extras: Sequence[Mapping[str, Any]] | None = None,
    **options: Any,
) -> Frames | list[Frames]:
    """The whole method in one call: uint8 frames [F, H, W, 3], or a list for a list of paintings.

    One prompt or seed may serve all paintings. Sizes default to each painting's aspect at the
    pipeline's own area, frames to the pipeline's own number. ``options`` go to the pipeline's call,
    ``extras`` are further ones of each painting (a mask of the painting's size, a negative prompt).
    UnsupportedError when the variant needs a proxy and there is none.
    """
    settings = settings or EPASettings()
    if "num_inference_steps" in options:
        settings = replace(settings, num_inference_steps=options.pop("num_inference_steps"))
    paintings = [painting] if isinstance(painting, Image.Image) else list(painting)
    proxies = [proxy] if isinstance(proxy, Image.Image) else list(proxy or ())
    if settings.needs_proxy and len(proxies) != len(paintings):
        raise UnsupportedError(
            f"variant {settings.variant!r} needs one proxy per painting, not {len(proxies)} for "
            f"{len(paintings)}; give them, or choose variant 'V' or 'baseline'."
        )
    prompts = [prompt] * len(paintings) if isinstance(prompt, str) else prompt
    seeds = [seed] * len(paintings) if isinstance(seed, int) else seed
    everything = Batch(paintings, prompts, seeds, extras or ())
    count = num_frames or family_of(pipeline).num_frames(pipeline)
    call = CallSettings(height or 0, width or 0, count, guidance_scale, options)
    clips = _awaken_by_size(pipeline, everything, proxies, settings, call)
    return clips[0] if isinstance(painting, Image.Image) else clips


def _awaken_by_size(
    pipeline: "DiffusionPipeline",
    batch: Batch,
    proxies: Sequence[Image.Image],
    settings: EPASettings,
    call: CallSettings,
) -> list[Frames]:
    """Paintings of one size together; ``call`` may leave height or width at 0, to be chosen."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for index, image in enumerate(batch.images):
        by_size.setdefault(_size(pipeline, image, call), []).append(index)
    clips: dict[int, Frames] = {}
    for (width, height), chosen in by_size.items():
        size = (width, height)
        group = Batch(
            [fit(batch.images[index], size) for index in chosen],
            [batch.prompts[index] for index in chosen],
            [batch.seeds[index] for index in chosen],
            [_fitted(batch, index, size) for index in chosen] if batch.extras else (),
        )
        others = [fit(proxies[index], size) for index in chosen] if settings.needs_proxy else []
        sized = replace(call, height=height, width=width)
        frames = _awaken_group(pipeline, group, others, settings, sized)
        clips.update(zip(chosen, frames, strict=True))
    return [clips[index] for index in range(len(batch.images))]


def _fitted(batch: Batch, index: int, size: tuple[int, int]) -> Mapping[str, Any]:
    """One painting's own arguments, with its mask at the clip's size."""
    own = batch.extras[index]
    mask = own.get("mask_image")
    if mask is None:
        return own
    if mask.size != batch.images[index].size:
        raise UnsupportedError(
            f"the mask is {mask.width}x{mask.height} px, but its painting is "
            f"{batch.images[index].width}x{batch.images[index].height} px."
        )
    return {**own, "mask_image": fit(mask, size)}


def _size(pipeline: "DiffusionPipeline", image: Image.Image, call: CallSettings) -> tuple[int, int]:
    """(width, height) of the clip; one given side keeps the aspect."""
    height, width = call.height, call.width
    if height and width:
        return width, height
    family, aspect = family_of(pipeline), image.width / image.height
    if height or width:
        area = height**2 * aspect if height else width**2 / aspect
    else:
        area = family.area(pipeline)
    multiple = family.size_multiple(pipeline)
    chosen = canvas_size(image.width, image.height, max(1, round(area)), multiple)
    return width or chosen[0], height or chosen[1]


def _awaken_group(
    pipeline: "DiffusionPipeline",
    batch: Batch,
    proxies: Sequence[Image.Image],
    settings: EPASettings,
    call: CallSettings,
) -> list[Frames]:
    real: list[Tensor] | None = None
    proxy: list[Tensor] | None = None
    images, count = [*batch.images, *proxies], len(batch.images)
    paths = 2 if proxies else 1
    seeds = [path_seeds(seed, settings) for seed in batch.seeds]
    if settings.distils:
        noise = [seed.real for seed in seeds] + [seed.proxy for seed in seeds]
        prompts, extras = [*batch.prompts] * paths, [*batch.extras] or [{}] * count
        if proxies:
            extras += proxy_extras(pipeline, batch.images, batch.extras, call)
        clips = distill_latents(
            pipeline, images, prompts, noise[: len(images)], settings, call, extras=extras
        )
        real, proxy = clips[:count], clips[count:] or None
    elif settings.variant == "S":
        clips = static_latents(pipeline, images, call)
        real, proxy = clips[:count], clips[count:]
    final = animate_latents(
        pipeline,
        batch.images,
        batch.prompts,
        [seed.final for seed in seeds],
        real,
        proxy,
        settings,
        call,
        extras=batch.extras,
    )
    return decode_latents(pipeline, final, call)
