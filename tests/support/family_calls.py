"""Calls that tests make of any tiny pipeline: the stock one, a distillation, its closed form."""

import functools
import inspect
from typing import Any

import torch
from diffusers.pipelines.easyanimate.pipeline_easyanimate_inpaint import get_image_to_video_latent
from gaussian_oracle import plant, predicted
from PIL import Image
from tiny_pipelines import Tiny, build, picture
from torch import Tensor

from epa_core.awakening import EPASettings, distill_latents, static_latents
from epa_core.distill import alphas
from epa_core.families import family_of
from epa_core.noise_levels import paper_kappas
from epa_core.runner import Batch, runner_of

SEED, PROMPT = 3, "waves"


@functools.cache
def tiny_of(name: str) -> Tiny:
    """A tiny pipeline that tests share and leave as it is."""
    return build(name)


@functools.cache
def planted(name: str) -> Tiny:
    """The same with the exact denoiser of a Gaussian in place of its network."""
    tiny = build(name)
    assert tiny.oracle is not None
    plant(tiny.oracle, tiny.pipeline)
    return tiny


def painting(tiny: Tiny, seed: int = 1) -> Any:
    """One of its size."""
    return picture(seed, tiny.call.width)


def shown(tiny: Tiny) -> dict[str, Any]:
    """The painting, as the documentation of each pipeline gives it a first frame."""
    call, parameters = tiny.call, inspect.signature(type(tiny.pipeline).__call__).parameters
    if "conditioning_frames" in parameters:
        return {"conditioning_frames": [painting(tiny)], "controlnet_frame_indices": [0]}
    if "mask_video" in parameters:
        size = (call.height, call.width)
        video, mask = get_image_to_video_latent([painting(tiny)], None, call.num_frames, size)
        return {"video": video, "mask_video": mask}
    if "mask" in parameters and "video" in parameters:
        grey = Image.new("RGB", (call.width, call.height), (128, 128, 128))
        keep, make = (Image.new("L", grey.size, level) for level in (0, 255))
        rest = call.num_frames - 1
        return {"video": [painting(tiny), *[grey] * rest], "mask": [keep, *[make] * rest]}
    return {"image": painting(tiny)}


def stock_call(tiny: Tiny, steps: int, **more: Any) -> Any:
    """What a user of diffusers would write."""
    call, family = tiny.call, family_of(tiny.pipeline)
    parameters = inspect.signature(type(tiny.pipeline).__call__).parameters
    given: dict[str, Any] = {"frames" if "frames" in parameters else "num_frames": call.num_frames}
    if "height" in parameters:
        given |= {"height": call.height, "width": call.width}
    if call.guidance_scale is not None:
        given[family.guidance_argument] = call.guidance_scale
    if family.takes_prompt and not any(name.startswith("prompt_embeds") for name in call.options):
        given["prompt"] = PROMPT
    with torch.random.fork_rng():
        torch.manual_seed(SEED)  # some pipelines draw from the global generator too
        return tiny.pipeline(
            generator=torch.Generator().manual_seed(SEED),
            num_inference_steps=steps,
            **shown(tiny),
            **given,
            **call.options,
            **more,
        ).frames


def distilled(tiny: Tiny, settings: EPASettings, **more: Any) -> Tensor:
    """The real path's clip."""
    (clip,) = distill_latents(
        tiny.pipeline, [painting(tiny)], [PROMPT], [SEED], settings, tiny.call, **more
    )
    return clip


def closed_form(tiny: Tiny, settings: EPASettings, **gaussian: Any) -> tuple[Tensor, Tensor]:
    """The still clip, and what VSDS makes of it by planned levels and the noise of the path."""
    family = family_of(tiny.pipeline)
    runner = runner_of(tiny.pipeline, tiny.call, settings.num_inference_steps)
    levels = runner.plan(Batch([painting(tiny)], [PROMPT], [SEED]))
    matched = settings.levels == "matched"
    schedule = levels.matched(paper_kappas()) if matched else levels.native()[:16]
    static = static_latents(tiny.pipeline, [painting(tiny)], tiny.call)[0][None]
    eps = runner.noise(static, [SEED], "vsds")
    curve = alphas(settings.alpha_curve, 16)
    z = predicted(family.to_step(static), eps, schedule, curve, **gaussian)
    return static[0], family.from_step(z.float(), static)[0]
