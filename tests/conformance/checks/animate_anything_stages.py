"""Each stage of AnimateAnything on its own, from recorded inputs: a fault shows where it is."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
from animate_anything_case import AnimateAnythingCase, PathName
from golden_case import check_names, exact
from torch import Tensor
from watching import text_rows

from epa_core import fuse as fusing
from epa_core.distill import VSDSState, alphas, noised
from epa_core.media.images import canvas_size
from epa_core.noise_levels import update_count
from epa_core.stages import static_latents

Case = AnimateAnythingCase
PATHS: Sequence[PathName] = ("real", "proxy")

EMBEDDING = 1e-5
PIXEL = 1e-6
LATENT = 1e-5
SCHEDULE = 1e-6
FUSION = 1e-5
#: Of the largest recorded value.
FORWARD = 1e-5
#: After one update from the recorded latents, which reach 9 to 24. Rounding makes up to 0.9e-4 on
#: processors with AVX-512 and 2.6e-4 on one with AVX2 alone, whose kernels add in another order.
UPDATE = 5e-4
#: After all updates up to one, with what rounding left in each; measured: 2.5e-4 with AVX-512 and
#: 5.7e-4 with AVX2 alone. The smallest of the mistakes that are looked for makes 0.02.
UPDATES = 1e-3
#: Rounding to half precision may fall to either side: by one step, in few places.
HALF_STEPS_DIFFERING = 0.01
FINAL = {"exact": 1e-3, "half": 5e-3}

REQUIRED = {
    *("motion", "mask", "prompt.input_ids", "prompt.embeds_uncond", "prompt.embeds_cond"),
    *(f"schedule.{name}" for name in ("timesteps", "sigmas", "step_sizes", "w")),
    *(f"{kind}.{path}" for kind in ("image", "latent", "vsds") for path in PATHS),
    *("noise.vsds_real", "noise.vsds_proxy", "noise.renoise"),
    *(f"unet.{name}" for name in ("sample", "timestep", "condition_latent", "mask", "motion")),
    *(f"unet.out.{a}_{b}" for a in ("mask", "nomask") for b in ("motion", "nomotion")),
    *(f"unet.b4.{name}" for name in ("sample", "timestep", "condition_latent", "mask", "motion")),
    *("unet.b4.out", "unet.first.vsds_real.t", "unet.first.vsds_real.out"),
    *(f"fuse.{name}" for name in ("theta", "slerp_fp64", "slerp_half", "lerp")),
    *("renoised.slerp_fp64", "renoised.slerp_half", "denoise.states", "final.latents"),
    *(f"variants.{name}.final_latents" for name in ("baseline", "V", "S_half", "S_fp64")),
    *("variants.VU.final_latents", "variants.VS_fp64.final_latents"),
    *("video.uint8", "video.float_last_frame"),
}
VARIANTS = {"baseline", "V", "S_half", "S_fp64", "VU", "VS_half", "VS_fp64"}
#: Between fuse.slerp_fp64 and fuse.slerp_half: float32 arithmetic, which neither reading uses.
NOT_COMPARED = {"fuse.slerp_fp32"}


def check_tensors(case: Case) -> None:
    """All stages and all variants were recorded."""
    check_names(case.tensors, REQUIRED, NOT_COMPARED)
    missing = sorted(VARIANTS - set(case.facts["variants_noise"]))
    assert not missing, f"case.json has no variants_noise of {', '.join(missing)}"


def check_prompt(case: Case) -> None:
    """Token ids exactly, embeddings as the UNet gets them: negative prompt first."""
    recorded = case.tensors
    texts, unet = case.first_call
    rows = {tuple(row.tolist()) for row in recorded["prompt.input_ids"]}
    assert text_rows(texts) == rows, f"the text encoder read {text_rows(texts)}, not {rows}"
    negative, prompt = unet.given["encoder_hidden_states"].split(1)
    case.close("prompt.embeds_uncond", negative, recorded["prompt.embeds_uncond"], EMBEDDING)
    case.close("prompt.embeds_cond", prompt, recorded["prompt.embeds_cond"], EMBEDDING)


def check_images(case: Case) -> None:
    """Size of the clip, and both pictures at that size in [-1, 1]."""
    facts = case.facts
    size = canvas_size(*case.sources["real"].size, facts["config_width"] * facts["config_height"])
    assert size == (facts["output_width"], facts["output_height"]), f"the clip's size is {size}"
    for path in PATHS:
        pixels = case.family.pixels(case.pipeline, case.images[path], case.call)
        case.close(f"image.{path}", pixels[None], case.tensors[f"image.{path}"], PIXEL)


def check_latents(case: Case) -> None:
    """The VAE's latents, one and the same in every frame."""
    clips = static_latents(case.pipeline, [case.images[path] for path in PATHS], case.call)
    for path, clip in zip(PATHS, clips, strict=True):
        still = case.tensors[f"latent.{path}"].expand(-1, -1, case.call.num_frames, -1, -1)
        case.close(f"latent.{path}", clip[None], still, LATENT)


def _prompts(case: Case, paintings: int) -> Tensor:
    halves = (case.tensors["prompt.embeds_uncond"], case.tensors["prompt.embeds_cond"])
    return torch.cat([half.repeat_interleave(paintings, 0) for half in halves])


@torch.no_grad()
def check_unet(case: Case, *, mask: bool, motion: bool) -> None:
    """One forward, with and without mask and motion."""
    recorded = case.tensors
    output = case.pipeline.unet(
        recorded["unet.sample"],
        recorded["unet.timestep"],
        _prompts(case, 1),
        recorded["unet.condition_latent"],
        mask=recorded["unet.mask"] if mask else None,
        motion=recorded["unet.motion"] if motion else None,
    )
    name = f"unet.out.{'mask' if mask else 'nomask'}_{'motion' if motion else 'nomotion'}"
    case.close_to_scale(name, output[0], recorded[name], FORWARD)


@torch.no_grad()
def check_unet_batch(case: Case) -> None:
    """Two paintings with guidance, each with its own mask, motion strength and timestep."""
    given = {
        name: case.tensors[f"unet.b4.{name}"]
        for name in ("sample", "timestep", "condition_latent", "mask", "motion")
    }
    paintings = len(given["sample"]) // 2
    output = case.pipeline.unet(**given, encoder_hidden_states=_prompts(case, paintings))
    case.close_to_scale("unet.b4.out", output[0], case.tensors["unet.b4.out"], FORWARD)


def check_first_call(case: Case) -> None:
    """What the UNet is given for the first update of the real path, and what it answers."""
    recorded, given = case.tensors, case.first_call[1].given
    timestep = recorded["unet.first.vsds_real.t"].reshape(1)
    exact("timestep", torch.as_tensor(given["timestep"]).reshape(-1)[:1], timestep)
    case.close("motion", given["motion"].reshape(-1)[:1], recorded["motion"], 0.0)
    condition = recorded["latent.real"].expand(2, -1, -1, -1, -1)
    case.close("condition of the first call", given["condition_latent"], condition, LATENT)
    mask = given["mask"].expand(2, -1, -1, -1, -1)
    case.close("mask", mask, recorded["mask"].expand_as(mask), PIXEL)
    name = "unet.first.vsds_real.out"
    case.close_to_scale(name, case.first_call[1].answer[0], recorded[name], FORWARD)


def check_schedule(case: Case) -> None:
    """Timesteps, noise levels down to the last one, weights w and step sizes."""
    recorded, settings = case.tensors, case.settings()
    plan = case.runner().plan(case.batch("real"))
    levels = plan.native()
    exact(
        "timesteps",
        torch.tensor([level.timestep for level in levels]),
        recorded["schedule.timesteps"],
    )
    sigmas = recorded["schedule.sigmas"]
    kappas = torch.tensor([level.kappa for level in levels])
    case.close("sigmas of the levels", kappas, sigmas[:-1], SCHEDULE * float(sigmas.max()))
    case.close("schedule.sigmas", plan.scheduler.sigmas.cpu(), sigmas, SCHEDULE)
    count = update_count(len(levels), settings.p)
    assert count == case.facts["update_steps"], f"{count} updates are planned"
    weights = torch.tensor([level.weight for level in levels[:count]])
    case.close("schedule.w", weights, recorded["schedule.w"], SCHEDULE)
    steps = alphas(settings.alpha_curve, count, settings.alpha_first, settings.alpha_last)
    wanted = recorded["schedule.step_sizes"]
    case.close("schedule.step_sizes", torch.tensor(steps, dtype=wanted.dtype), wanted, SCHEDULE)


def check_noise(case: Case) -> None:
    """The noises are the draws of one stream, bit for bit."""
    order = [entry["tensor"] for entry in case.facts["random_draws_in_order"]]
    still = case.tensors["latent.real"].expand(-1, -1, case.call.num_frames, -1, -1)
    for name in order:
        drawn = case.runner().noise(still, [case.draw(name)], "unused")
        case.close(name, drawn, case.tensors[name], 0.0)


def check_updates(case: Case, path: PathName, *, updates: Iterable[int] | None = None) -> None:
    """Each VSDS update by itself, from the recorded latents before it; all unless told which."""
    recorded = case.tensors[f"vsds.{path}"]
    eps = case.tensors[f"noise.vsds_{path}"]
    static = case.tensors[f"latent.{path}"].expand_as(recorded[0])
    every = range(len(recorded))
    for update in every if updates is None else [every[chosen] for chosen in updates]:
        before = recorded[update - 1] if update else static.contiguous()
        states = case.distill(path, resume=VSDSState(before, eps, update), updates=1)
        assert states, f"update {update + 1} of {len(recorded)} was not made"
        case.close(f"vsds.{path}, each update", states[0], recorded[update], UPDATE)


def check_fusion(case: Case, how: str) -> None:
    """Fusion of the recorded paths, in full precision: "slerp" or "lerp"."""
    real, proxy = (case.tensors[f"vsds.{path}"][-1, 0] for path in PATHS)
    name = {"slerp": "fuse.slerp_fp64", "lerp": "fuse.lerp"}[how]
    fused = fusing.fuse(real, proxy, 1, how)  # type: ignore[arg-type] # one of them
    case.close(name, fused[None], case.tensors[name], FUSION)


def check_half_fusion(case: Case) -> None:
    """Spherical fusion of the recorded paths in half precision, first and last frame exact."""
    real, proxy = (case.tensors[f"vsds.{path}"][-1, 0] for path in PATHS)
    wanted = case.tensors["fuse.slerp_half"][0]
    fused = fusing.fuse(real, proxy, 1, "slerp", half=True)
    assert fused.shape == wanted.shape, f"shape {tuple(fused.shape)}"
    off = (fused.double() - wanted.double()).abs()
    assert not off[:, [0, -1]].any(), "the first and the last frame must be exact copies"
    # float16 has ten bits behind the leading one; 2^-24 is its smallest step.
    step = (2.0 ** (wanted.double().abs().clamp_min(2.0**-14).log2().floor() - 10)).clamp_min(
        2.0**-24
    )
    case.at_most("fuse.slerp_half: half steps", float((off / step).max()), 1.0)
    share = float((off > 0).double().mean())
    case.at_most("fuse.slerp_half: share differing", share, HALF_STEPS_DIFFERING)


def check_angles(case: Case) -> None:
    """Each frame turns by its own recorded angle."""
    real, proxy = (case.tensors[f"vsds.{path}"][-1, 0].double() for path in PATHS)
    theta = case.tensors["fuse.theta"].view(1, -1, 1, 1)
    beta = torch.linspace(0, 1, real.shape[1], dtype=torch.float64).view(1, -1, 1, 1)
    turned = (torch.sin((1 - beta) * theta) * real + torch.sin(beta * theta) * proxy) / theta.sin()
    case.close("turned by fuse.theta", fusing.fuse(real, proxy, 1), turned, FUSION)


def check_renoising(case: Case, how: str) -> None:
    """The start of the denoising, from the recorded fused clip."""
    level = case.runner().plan(case.batch("real")).native()[0]
    assert level.timestep == case.facts["renoise_timestep_t0"], f"starts at {level.timestep}"
    start = noised(case.tensors[f"fuse.{how}"], case.tensors["noise.renoise"], level)
    case.close(f"renoised.{how}", start, case.tensors[f"renoised.{how}"], FUSION)


def check_denoising(case: Case) -> None:
    """The model's own call from a recorded start: latents on the way, and at the end."""
    recorded, states = case.tensors, []

    def keep(_: object, step: int, timestep: object, tensors: dict[str, Tensor]) -> dict[str, Any]:
        states.append(tensors["latents"].clone())
        return {}

    case.pipeline(
        case.images["real"],
        case.facts["prompt"],
        **case.own_arguments,
        height=case.call.height,
        width=case.call.width,
        num_frames=case.call.num_frames,
        num_inference_steps=case.facts["num_inference_steps_T"],
        guidance_scale=case.call.guidance_scale,
        latents=recorded["renoised.slerp_half"],
        callback_on_step_end=keep,
        output_type="latent",
    )
    check_states(case, "denoise.states", states, FINAL["exact"])
    case.close("final.latents, denoised", states[-1], recorded["final.latents"], FINAL["exact"])


def check_states(case: Case, name: str, states: Sequence[Tensor], allowed: float) -> None:
    """Latents after the solver steps that case.json names."""
    indices = case.facts["denoise_states_indices"]
    recorded = case.tensors["denoise.states"]
    assert len(indices) == len(recorded), f"{len(indices)} indices for {len(recorded)} states"
    assert len(states) == case.facts["num_inference_steps_T"], f"{len(states)} steps were made"
    case.close(name, torch.stack([states[index] for index in indices]), recorded, allowed)


STAGES = {
    "tensors": check_tensors,
    "prompt": check_prompt,
    "images": check_images,
    "latents": check_latents,
    **{
        f"unet-{'mask' if mask else 'nomask'}-{'motion' if motion else 'nomotion'}": partial(
            check_unet, mask=mask, motion=motion
        )
        for mask in (True, False)
        for motion in (True, False)
    },
    "unet-batch": check_unet_batch,
    "first-call": check_first_call,
    "schedule": check_schedule,
    "noise": check_noise,
    **{f"updates-{path}": partial(check_updates, path=path) for path in PATHS},
    **{f"fusion-{how}": partial(check_fusion, how=how) for how in ("slerp", "lerp")},
    "fusion-half-slerp": check_half_fusion,
    "angles": check_angles,
    **{
        f"renoising-{how}": partial(check_renoising, how=how)
        for how in ("slerp_half", "slerp_fp64")
    },
    "denoising": check_denoising,
}
