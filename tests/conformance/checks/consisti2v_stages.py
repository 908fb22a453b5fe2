"""Each stage of ConsistI2V on its own, from recorded inputs: a fault shows where it is."""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from consisti2v_case import ConsistI2VCase, PathName
from diffusers.models.attention_processor import Attention
from golden_case import check_names, exact
from torch import Tensor
from watching import watching

from epa_core import fuse as fusing
from epa_core.awakening import animate_latents, path_seeds
from epa_core.distill import VSDSState, alphas
from epa_core.models import consisti2v_inputs as inputs
from epa_core.models import consisti2v_layers as layers
from epa_core.models.call_inputs import drawn
from epa_core.models.consisti2v import guided
from epa_core.noise_levels import update_count
from epa_core.runner import Draw

Case = ConsistI2VCase
PATHS: tuple[PathName, ...] = ("real", "proxy")

#: All of the largest recorded value. What differs is rounding: 2e-6 was seen in one forward,
#: 6e-6 after all steps.
PIXEL = 1e-6
DRAWN = 1e-5
FORWARD = 1e-5
FINAL = 1e-4
HALF = 1e-3
#: Absolute.
SCHEDULE = 1e-6

REQUIRED = {
    *("text.input_ids", "text.negative_input_ids", "text.embeddings_uncond_cond"),
    *("pre.pixel_values", "vae.encode_mean", "vae.encode_logvar", "vae.encode_noise"),
    *("vae.first_frame_latents", "noise.base", "noise.ind", "noise.initial_latents"),
    *("frameinit.filter", "frameinit.noised_static", "frameinit.out"),
    *("unet.sample", "unet.first_frame_latents", "unet.out"),
    *(f"default.step0.{name}" for name in ("unet_out", "noise_pred_guided", "prev_sample")),
    *("default.step25.latents_in", "default.step25.noise_pred_guided", "default.final_latents"),
    *("default.frames_uint8", "default.frames_float_sel", "cfg.text_rescaled_out"),
    *("both.step0.unet_out", "both.step0.noise_pred_guided", "both.final_latents"),
    *("proxy.vae_mean", "proxy.vae_logvar", "proxy.vae_noise", "proxy.latents"),
    *(f"epa.{p}.{n}" for p in PATHS for n in ("vsds_noise", "vsds_after_step0", "vsds_out")),
    *("epa.fused", "epa.renoise_noise", "epa.init_latents", "epa.final_latents"),
    *("epa.frames_uint8", "epa.fused_official_f16", "epa.init_latents_official_f16"),
    *("epa.official_f16.final_latents", "epa_alt_frameinit.init_latents"),
    *(f"comp.tempattn.{name}" for name in ("x", "adjacent", "out")),
}
ACTIVATION, ATTENTION = "unet.act.", "comp.tempattn.w."


def check_tensors(case: Case) -> None:
    """All stages were recorded, and a probe of every level."""
    probes = {name for name in case.tensors if name.startswith(ACTIVATION)}
    levels = len(case.pipeline.unet.down_blocks)
    blocks = [f"{kind}_blocks.{level}" for kind in ("down", "up") for level in range(levels)]
    wanted = {f"{ACTIVATION}{name}.b0f1c8" for name in ("conv_in", "mid_block", *blocks)}
    weights = {name for name in case.tensors if name.startswith(ATTENTION)}
    assert weights, f"no {ATTENTION}"
    check_names(case.tensors, REQUIRED | wanted, probes | weights)


@torch.no_grad()
def check_prompt(case: Case) -> None:
    """Token ids exactly, embeddings of both prompts."""
    texts = [case.facts["negative_prompt"], case.facts["prompt"]]
    with watching(case.pipeline.text_encoder) as calls:
        found = case.pipeline.encode_texts(texts)
    ids = [call.given.get("input_ids") for call in calls]
    for got, name in zip(ids, ("text.negative_input_ids", "text.input_ids"), strict=False):
        exact(name, got, case.tensors[name])
    name = "text.embeddings_uncond_cond"
    case.close_to_scale(name, found, case.tensors[name], FORWARD)


@torch.no_grad()
def check_images(case: Case) -> None:
    """The prepared painting, the VAE's posterior of both pictures, and the sample of each."""
    recorded, facts = case.tensors, case.facts
    size = (facts["width"], facts["height"])
    pixels = case.family.pixels(case.pipeline, case.images["real"], case.call())
    case.close_to_scale("pre.pixel_values", pixels, recorded["pre.pixel_values"], PIXEL)
    for path, prefix in (("real", "vae.encode"), ("proxy", "proxy.vae")):
        image = case.images[path]  # type: ignore[index] # both are
        pixels = case.family.pixels(case.pipeline, image, case.call())
        posterior = case.pipeline.vae.encode(pixels).latent_dist
        for part, got in (("mean", posterior.mean), ("logvar", posterior.logvar)):
            name = f"{prefix}_{part}"
            case.close_to_scale(name, got, recorded[name], DRAWN)
        scale = case.pipeline.vae.config.scaling_factor
        assert scale == facts["vae_scaling_factor"], f"the VAE's latents are scaled by {scale}"
        sample = posterior.mean + posterior.std * recorded[f"{prefix}_noise"]
        wanted = case.first_frame(path)[:, :, 0]  # type: ignore[arg-type] # one of the two
        case.close_to_scale(f"{prefix}, sampled", sample * scale, wanted, DRAWN)
    seeded = torch.Generator().manual_seed(facts["seed"])
    first = case.pipeline.encode_images([case.images["real"]], size, [seeded])
    name = "vae.first_frame_latents"
    case.close_to_scale(name, first[:, :, 0], recorded[name], DRAWN)


def check_noise(case: Case) -> None:
    """Draws of the default run, bit for bit: the posterior's, what frames share, each frame's."""
    recorded, facts = case.tensors, case.facts
    generator = torch.Generator().manual_seed(facts["seed"])
    case.close("vae.encode_noise", *_with(recorded, "vae.encode_noise", generator), 0.0)
    state = generator.get_state()
    for name in ("noise.base", "noise.ind"):
        case.close(name, *_with(recorded, name, generator), 0.0)
    generator.set_state(state)
    noise = inputs.clip_noise(
        facts["noise_sampling_method"],
        facts["noise_alpha"],
        recorded["noise.ind"].shape[1:],
        generator,
    )
    name = "noise.initial_latents"
    case.close_to_scale(name, noise, recorded[name], PIXEL)


def _with(recorded: Any, name: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return drawn(recorded[name].shape[1:], [generator]), recorded[name]


def check_frame_init(case: Case) -> None:
    """The filter, the still painting noised, and the noise with its low frequencies."""
    recorded, pipeline = case.tensors, case.pipeline
    start = pipeline.start(case.options)
    noise = recorded["noise.initial_latents"]
    low = inputs.low_pass(
        start.frame_init_filter,
        start.frame_init_order,
        start.frame_init_spatial,
        start.frame_init_temporal,
        *noise.shape[2:],
    )
    case.close("frameinit.filter", low, recorded["frameinit.filter"], PIXEL)
    still = case.first_frame("real").expand_as(noise)
    all_low = inputs.mix_low(
        still, noise, pipeline.scheduler.alphas_cumprod[start.frame_init_timestep], low * 0 + 1
    )
    name = "frameinit.noised_static"
    case.close_to_scale(name, all_low, recorded[name], DRAWN)
    made = pipeline.frame_init(still, noise, start)
    case.close_to_scale("frameinit.out", made, recorded["frameinit.out"], DRAWN)


@torch.no_grad()
def check_attention(case: Case) -> None:
    """Attention over time at another width, with recorded neighbours; rotary positions."""
    recorded = case.tensors
    x, around = recorded["comp.tempattn.x"], recorded["comp.tempattn.adjacent"]
    weights = {
        name.removeprefix(ATTENTION): value
        for name, value in recorded.items()
        if name.startswith(ATTENTION)
    }
    width, (height, columns) = x.shape[-1], around.shape[2:4]
    heads = case.pipeline.unet.config.n_temp_heads
    attn = Attention(width, heads=heads, dim_head=width // heads)
    dead = [name for name in weights if name.startswith("rotary_bias.")]
    freqs = weights.pop("rotary_emb.freqs")
    case.close("rotary_emb.freqs", layers.frequencies(width), freqs, PIXEL)
    attn.load_state_dict({name: value for name, value in weights.items() if name not in dead})
    # The recorded neighbours are nobody's tokens: they get places of their own in frame 0.
    places = height * columns
    extra = x.new_zeros(1, len(x), 8 * places, width)
    extra[0, 0] = around[0].permute(1, 2, 3, 0).flatten(0, 2)
    seen = torch.arange(places, 9 * places).view(places, 8)
    seen = torch.cat([seen, seen.new_zeros(8 * places, 8)])
    found = layers.over_frames(attn, torch.cat([x[None], extra], dim=2), seen)[0, :, :places]
    case.close_to_scale("comp.tempattn.out", found, recorded["comp.tempattn.out"], FORWARD)


@torch.no_grad()
def check_unet(case: Case) -> None:
    """One forward, and what comes out of its parts on the way."""
    recorded, unet = case.tensors, case.pipeline.unet
    probes = [name for name in recorded if name.startswith(ACTIVATION)]
    found: dict[str, Any] = {}

    def keep(name: str) -> Any:
        return lambda _, args, answer: found.setdefault(name, answer)

    hooks = []
    for probe in probes:
        module = unet.get_submodule(probe.removeprefix(ACTIVATION).removesuffix(".b0f1c8"))
        hooks.append(module.register_forward_hook(keep(probe)))
    try:
        output = unet(
            recorded["unet.sample"],
            case.scalars["unet.timestep"],
            recorded["text.embeddings_uncond_cond"],
            recorded["unet.first_frame_latents"],
            case.scalars["unet.frame_stride"],
        )[0]
    finally:
        for hook in hooks:
            hook.remove()
    for probe in probes:
        got = found[probe][0] if isinstance(found[probe], tuple) else found[probe]
        # Embeddings are one row a clip here, all the same; else 8 channels of frame 1 of clip 0.
        got = got[1, :8] if probe.endswith(".b0f1c8") else got[:1]
        case.close_to_scale(probe, got, recorded[probe], FORWARD)
    case.close_to_scale("unet.out", output, recorded["unet.out"], FORWARD)


def check_guidance(case: Case) -> None:
    """Recorded predictions put together: by text, rescaled, and three-way."""
    recorded, facts = case.tensors, case.facts
    text = recorded["default.step0.unet_out"].split(1)
    scale = facts["guidance_scale_txt"]
    for name, got in (
        ("default.step0.noise_pred_guided", guided(text, scale, 1.0, 0.0)),
        ("cfg.text_rescaled_out", guided(text, scale, 1.0, facts["cfg_rescale"])),
        (
            "both.step0.noise_pred_guided",
            guided(
                recorded["both.step0.unet_out"].split(1),
                scale,
                facts["both"]["guidance_scale_img"],
                0.0,
            ),
        ),
    ):
        case.close_to_scale(name, got, recorded[name], FORWARD)


def check_schedule(case: Case) -> None:
    """Timesteps of the default run and of EPA's; its step sizes and weights."""
    scheduler, scalars = case.pipeline.scheduler, case.scalars
    scheduler.set_timesteps(case.facts["num_inference_steps"])
    exact("timesteps", scheduler.timesteps, torch.tensor(scalars["default.timesteps"]))
    settings, levels = case.settings(), case.runner().plan(case.batch()).native()
    found = torch.tensor([level.timestep for level in levels])
    exact("EPA's timesteps", found, torch.tensor(scalars["epa.timesteps"]))
    count = update_count(len(levels), settings.p)
    assert count == scalars["epa.tau"], f"{count} updates are planned"
    steps = alphas(settings.alpha_curve, count, settings.alpha_first, settings.alpha_last)
    wanted = torch.tensor(scalars["epa.alphas"], dtype=torch.float64)
    case.close("epa.alphas", torch.tensor(steps, dtype=torch.float64), wanted, SCHEDULE)
    trace = torch.tensor(scalars["epa.real.trace_alpha_w_gradnorm_znorm"], dtype=torch.float64)
    weights = torch.tensor([level.weight for level in levels[:count]], dtype=torch.float64)
    case.close("w", weights, trace[:, 1], SCHEDULE)


def check_path_noise(case: Case) -> None:
    """The noise of each path and of re-noising, bit for bit."""
    runner, still = case.runner(), case.refined("real")[None]
    for path in PATHS:
        name = f"epa.{path}.vsds_noise"
        drawn = runner.noise(still, case.batch(path).seeds, "unused")
        case.close(name, drawn, case.tensors[name], 0.0)


def check_first_update(case: Case, path: PathName) -> None:
    """The first VSDS update, from the recorded clean latent and noise."""
    eps = case.tensors[f"epa.{path}.vsds_noise"]
    still = case.first_frame(path).expand_as(eps).contiguous()
    [state] = case.distill(path, resume=VSDSState(still, eps), updates=1)
    name = f"epa.{path}.vsds_after_step0"
    case.close_to_scale(name, state, case.tensors[name], FORWARD)


def check_fusion(case: Case, half: bool) -> None:
    """The recorded paths fused, each frame by its own angle; first and last frame exact."""
    real, proxy = case.refined("real"), case.refined("proxy")
    fused = fusing.fuse(real, proxy, 1, half=half)
    name = "epa.fused_official_f16" if half else "epa.fused"
    wanted = case.tensors[name]
    case.close_to_scale(name, fused[None], wanted, HALF if half else FORWARD)
    exact_ends = torch.stack([real[:, 0], proxy[:, -1]])
    case.close(f"{name}: ends", exact_ends, torch.stack([wanted[0, :, 0], wanted[0, :, -1]]), 0.0)


def check_angles(case: Case) -> None:
    """The recorded angle of every frame between."""
    angles = torch.tensor(case.scalars["epa.theta_per_interior_frame"], dtype=torch.float64)
    real, proxy = (case.refined(path).double().flatten(2) for path in PATHS)
    beta = torch.linspace(0, 1, real.shape[1], dtype=torch.float64)[1:-1]
    one, other = torch.sin((1 - beta) * angles), torch.sin(beta * angles)
    mixed = one[:, None] * real[:, 1:-1] + other[:, None] * proxy[:, 1:-1]
    wanted = (mixed / angles.sin()[:, None]).unflatten(2, case.tensors["epa.fused"].shape[-2:])
    fused = fusing.fuse(case.refined("real"), case.refined("proxy"), 1)
    case.close_to_scale("turned by the recorded angles", fused[:, 1:-1], wanted, FORWARD)


def check_renoising(case: Case, half: bool) -> None:
    """The start of the denoising from the recorded fused clip, and its noise bit for bit."""
    recorded, runner = case.tensors, case.runner()
    fused = recorded["epa.fused_official_f16" if half else "epa.fused"]
    seeds = case.facts["epa"]["seeds"]
    noise = runner.renoising_noise(fused, [Draw(seeds["renoise"], 0)])
    case.close("epa.renoise_noise", noise, recorded["epa.renoise_noise"], 0.0)
    level = runner.plan(case.batch()).native()[0]
    assert level.timestep == case.scalars["epa.t0"], f"starts at {level.timestep}"
    start = case.family.renoised(case.pipeline, fused, noise, level, runner.call)
    name = "epa.init_latents_official_f16" if half else "epa.init_latents"
    case.close_to_scale(name, start, recorded[name][:, :, 1:], FORWARD)


def check_one_stream(case: Case) -> None:
    """The released script's stream: the posterior's noise, what frames share, each frame's."""
    seed = path_seeds(case.facts["seed"], case.settings(variant="baseline", one_stream=True)).final
    settings = replace(case.settings(variant="baseline"), num_inference_steps=1)
    given = ([case.images["real"]], [case.facts["prompt"]], [seed], None, None, settings)
    with watching(case.pipeline.unet) as calls:
        animate_latents(case.pipeline, *given, case.call(sample_posterior=True))
    sample, name = calls[0].given["sample"][:1], "frameinit.out"
    case.close_to_scale(name, sample, case.tensors[name][:, :, 1:], DRAWN)
    first, name = calls[0].given["first_frame_latents"][:1], "vae.first_frame_latents"
    case.close_to_scale(name, first[:, :, 0], case.tensors[name], DRAWN)


def check_renoising_by_frame_init(case: Case) -> None:
    """The other reading: FrameInit of the recorded fused clip, as the setting "fused" makes it."""
    recorded, runner = case.tensors, case.runner()
    fused, call = recorded["epa.fused"], case.path_call("real", frame_init="fused")
    level = runner.plan(case.batch()).native()[0]
    stream = torch.Generator().manual_seed(case.facts["seed"])
    drawn(recorded["vae.encode_noise"].shape[1:], [stream])  # what the released script draws first
    noise = case.family.renoising_noise(case.pipeline, fused[0], call, stream)
    name = "noise.initial_latents"
    case.close_to_scale(name, noise, recorded[name], PIXEL)
    start = case.family.renoised(case.pipeline, fused, noise, level, call)
    name = "epa_alt_frameinit.init_latents"
    case.close_to_scale(name, start, recorded[name][:, :, 1:], DRAWN)


STAGES = {
    "tensors": check_tensors,
    "prompt": check_prompt,
    "images": check_images,
    "noise": check_noise,
    "frame-init": check_frame_init,
    "attention": check_attention,
    "unet": check_unet,
    "guidance": check_guidance,
    "schedule": check_schedule,
    "path-noise": check_path_noise,
    "one-stream": check_one_stream,
    **{f"first-update-{path}": partial(check_first_update, path=path) for path in PATHS},
    "fusion": partial(check_fusion, half=False),
    "fusion-half-slerp": partial(check_fusion, half=True),
    "angles": check_angles,
    "renoising": partial(check_renoising, half=False),
    "renoising-half-slerp": partial(check_renoising, half=True),
    "renoising-frame-init": check_renoising_by_frame_init,
}
