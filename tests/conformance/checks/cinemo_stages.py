"""Cinemo, stage by stage, against the released code's recorded tensors."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from cinemo_case import (
    PATHS,
    READINGS,
    RECORDED_IMAGE,
    RECORDED_LATENT,
    VARIANTS,
    CinemoCase,
    PathName,
)
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from golden_case import check_names, exact
from torch import Tensor

from epa_core.models import cinemo_inputs as inputs
from epa_core.models import cinemo_unet as network
from epa_core.noise_levels import update_count

Case = CinemoCase

#: Of the largest recorded value: single modules and one call of the network; many calls.
MODULE, FINAL = 1e-5, 1e-4
PIXEL = 1e-6
#: Levels of 255, and the share of values that may differ at all.
LEVEL, LEVELS_DIFFERING = 1, 0.001
#: Of the decoded range, of which a level is 4e-3.
DECODED = 1e-4

IMAGE = ("pixels", "encode_noise")
REQUIRED = {
    *(f"image.{name}" for name in ("painting_u8", "proxy_u8", "proxy_resized_u8", "x_r", "x_s")),
    *(f"image.{which}_{what}" for which in ("painting", "proxy") for what in IMAGE),
    *("image.painting_posterior_mean", "image.painting_posterior_std"),
    *("prompt.input_ids", "prompt.embeds"),
    *(f"dct.{name}" for name in ("noise", "noised_base", "mask", "latents")),
    *("scheduler.timesteps", "scheduler.alphas_cumprod"),
    *(f"unet.{name}" for name in ("sample", "timestep", "base_content", "added_motion_ids")),
    *("unet.out", "unet.mid_block_out", "unet.time_emb_without_motion"),
    *(f"probe.{name}.{end}" for name in ("temporal_attn", "rotary") for end in ("in", "out")),
    *("probe.temporal_attn.rel_pos_bias", "probe.rotary.freqs"),
    *(f"probe.mid_resnet0.{name}" for name in ("in", "temb", "out")),
    *(f"probe.mid_transformer.{name}" for name in ("in", "encoder_hidden_states", "out")),
    *("pipeline.latents_after_step", "pipeline.final_latents", "pipeline.frames_float"),
    *("pipeline.frames_u8", "pipeline.frames_u8_plain_vae", "pipeline_nodct.final_latents"),
    *(f"epa.{kind}_{path}" for kind in ("noise", "first_guided_eps", "z0") for path in PATHS),
    *(f"epa.m_{path}_after_iter" for path in PATHS),
    *("epa.renoise", "epa.betas", "epa.z0_fused", "epa.init_latents", "epa.final_latents"),
    *("epa.frames_u8", "epa_slerp_only.z0_fused", "epa_slerp_only.final_latents"),
    *("epa_vsds_only.final_latents", "epa_uniform.final_latents"),
}
_MULTIHEAD = ("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight", "to_out.0.bias")
_BIAS = "time_rel_pos_bias.relative_attention_bias.weight"
#: What one case need not have, since the files are to stay small.
OPTIONAL = {
    *(f"unet_odd.{name}" for name in ("sample", "base_content", "out")),
    *(f"probe.multihead.{name}" for name in ("in", "out", _BIAS, "rotary_emb.freqs", *_MULTIHEAD)),
    *(f"{name}.{what}" for name in READINGS for what in ("z0_fused", "m0_fused", "final_latents")),
}


def check_tensors(case: Case) -> None:
    """All stages were recorded, and nothing that no check looks at."""
    buckets = {n for n in case.tensors if n.startswith(("motion.emb_", "motion.unet_out_"))}
    assert buckets, "missing tensors: motion.emb_*"
    check_names(case.tensors, REQUIRED, OPTIONAL | buckets)


def check_images(case: Case) -> None:
    """Sources, and both pictures cut to the size in [-1, 1]."""
    recorded = case.tensors
    for path, name in (("real", "painting_u8"), ("proxy", "proxy_resized_u8")):
        got = torch.from_numpy(np.array(case.images[path]))
        exact(f"image.{name}", got, recorded[f"image.{name}"])
    for path in PATHS:
        pixels = case.family.pixels(case.pipeline, case.images[path], case.call())
        name = f"image.{RECORDED_IMAGE[path]}_pixels"
        case.close(name, pixels, recorded[name], PIXEL)


def check_latents(case: Case) -> None:
    """The image latents, once in front and once per frame; the mode is the posterior's mean."""
    for path, clip in case.static().items():
        name = RECORDED_LATENT[path]
        still = case.tensors[name].expand(-1, -1, case.call().num_frames, -1, -1)
        case.close_to_scale(name, clip[None], still, MODULE)
    mode = case.pipeline.encode_images([case.images["real"]], case.size)
    mean = case.tensors["image.painting_posterior_mean"][:, :, None] * case.facts["scaling_factor"]
    case.close_to_scale("image.painting_posterior_mean", mode, mean, MODULE)


def check_prompt(case: Case) -> None:
    """Tokens and embeddings, the negative prompt first."""
    texts = [case.facts["negative_prompt"] or "", case.facts["prompt"]]
    tokens = case.pipeline.tokenizer(
        texts, padding="max_length", max_length=case.pipeline.prompt_tokens, truncation=True
    )
    exact("prompt.input_ids", torch.tensor(tokens.input_ids), case.tensors["prompt.input_ids"])
    embeds = case.pipeline.encode_texts(texts)
    case.close_to_scale("prompt.embeds", embeds, case.tensors["prompt.embeds"], MODULE)


def check_schedule(case: Case) -> None:
    """Timesteps, cumulative alphas, and every setting that the released code ends up with."""
    scheduler = case.pipeline.scheduler
    for name, value in case.facts["scheduler"]["effective"].items():
        if name != "skip_prk_steps":  # of the file's own class, not of this solver
            got = scheduler.config.get(name)
            assert got == value, f"the scheduler's {name} is {got}, recorded is {value}"
    scheduler.set_timesteps(case.facts["num_inference_steps"])
    exact("timesteps", scheduler.timesteps, case.tensors["scheduler.timesteps"])
    name = "scheduler.alphas_cumprod"
    case.close(name, scheduler.alphas_cumprod, case.tensors[name], 1e-7)
    count = update_count(len(scheduler.timesteps), case.facts["epa"]["p"])
    assert count == case.facts["epa"]["tau"], f"{count} updates are planned"


@torch.no_grad()
def check_modules(case: Case) -> None:
    """Attention over time, its bias and rotation, a residual block and a transformer."""
    recorded, mid = case.tensors, case.pipeline.unet.mid_block
    attention = mid.attentions[0].transformer_blocks[0].attn_temp
    name = "probe.temporal_attn.out"
    case.close_to_scale(name, attention(recorded["probe.temporal_attn.in"]), recorded[name], MODULE)
    name = "probe.temporal_attn.rel_pos_bias"
    bias = attention.time_rel_pos_bias(recorded[name].shape[-1])
    case.close_to_scale(name, bias, recorded[name], MODULE)
    probe = recorded["probe.rotary.in"]
    angles = get_1d_rotary_pos_embed(network.ROTATED, probe.shape[-2], use_real=True)
    name = "probe.rotary.out"
    case.close_to_scale(name, network.rotated(probe, angles), recorded[name], MODULE)
    table = 10000.0 ** (-torch.arange(0, network.ROTATED, 2) / network.ROTATED)
    case.close("probe.rotary.freqs", table, recorded["probe.rotary.freqs"], 1e-6)

    clips = recorded["probe.mid_resnet0.in"]
    case.pipeline.unet.clip.frames = frames = clips.shape[2]
    temb = recorded["probe.mid_resnet0.temb"].expand(frames, -1)
    output = mid.resnets[0](_folded(clips), temb)
    name = "probe.mid_resnet0.out"
    case.close_to_scale(name, output, _folded(recorded[name]), MODULE)
    text = recorded["probe.mid_transformer.encoder_hidden_states"].expand(frames, -1, -1)
    given = _folded(recorded["probe.mid_transformer.in"])
    output = mid.attentions[0](given, encoder_hidden_states=text, return_dict=False)[0]
    name = "probe.mid_transformer.out"
    case.close_to_scale(name, output, _folded(recorded[name]), MODULE)


def _folded(clips: Tensor) -> Tensor:
    return clips.transpose(1, 2).flatten(0, 1)


@torch.no_grad()
def check_heads(case: Case) -> None:
    """Attention over time with two heads, with weights of its own."""
    weights = {name: case.tensors[f"probe.multihead.{name}"] for name in (*_MULTIHEAD, _BIAS)}
    width, heads = weights["to_q.weight"].shape[0], weights[_BIAS].shape[1]
    attention = network.TemporalAttention(width, heads, width // heads)
    attention.load_state_dict(weights)
    output = attention(case.tensors["probe.multihead.in"])
    case.close_to_scale("probe.multihead.out", output, case.tensors["probe.multihead.out"], MODULE)


@torch.no_grad()
def check_unet(case: Case) -> None:
    """One call as the pipeline makes it, and what comes out of its middle."""
    recorded, unet = case.tensors, case.pipeline.unet
    seen: list[Tensor] = []
    hook = unet.mid_block.register_forward_hook(lambda _, __, answer: seen.append(answer))
    output = unet(
        recorded["unet.sample"],
        recorded["unet.timestep"],
        recorded["prompt.embeds"],
        recorded["unet.base_content"],
        recorded["unet.added_motion_ids"],
    )[0]
    hook.remove()
    middle = _folded(recorded["unet.mid_block_out"])
    case.close_to_scale("unet.mid_block_out", seen[0], middle, MODULE)
    case.close_to_scale("unet.out", output, recorded["unet.out"], MODULE)


@torch.no_grad()
def check_motion(case: Case) -> None:
    """The time embedding, that of each recorded bucket, and what a bucket makes of a call."""
    recorded, unet = case.tensors, case.pipeline.unet
    sample, timestep = recorded["unet.sample"], recorded["unet.timestep"]
    features = unet.get_time_embed(sample, timestep)
    name = "unet.time_emb_without_motion"
    case.close_to_scale(name, unet.time_embedding(features), recorded[name], MODULE)
    for name in (name for name in recorded if name.startswith("motion.")):
        bucket = torch.tensor([float(name.rpartition("_")[2])])
        if name.startswith("motion.emb_"):
            got = unet.get_class_embed(sample, bucket)
        else:
            text, base = recorded["prompt.embeds"][1:], recorded["unet.base_content"][1:]
            got = unet(sample[1:], timestep, text, base, bucket)[0]
        case.close_to_scale(name, got, recorded[name], MODULE)


@torch.no_grad()
def check_odd_size(case: Case) -> None:
    """Latents that cannot be halved evenly."""
    recorded = case.tensors
    output = case.pipeline.unet(
        recorded["unet_odd.sample"],
        recorded["unet.timestep"],
        recorded["prompt.embeds"][1:],
        recorded["unet_odd.base_content"],
        recorded["unet.added_motion_ids"][1:],
    )[0]
    case.close_to_scale("unet_odd.out", output, recorded["unet_odd.out"], MODULE)


def check_dct(case: Case) -> None:
    """DCTInit from the recorded noise, and which frequencies it takes from the image."""
    recorded, facts = case.tensors, case.facts["dct"]
    noise, level = recorded["dct.noise"], case.pipeline._trained_level(facts["timestep"])
    got = inputs.dct_init(noise, recorded["image.x_r"], level, facts["percentage"])
    case.close_to_scale("dct.latents", got, recorded["dct.latents"], MODULE)
    base = level.a * recorded["image.x_r"] + level.s * noise
    case.close_to_scale("dct.noised_base", base, recorded["dct.noised_base"], MODULE)
    rows, columns = (
        torch.linalg.matrix_rank(inputs._low_pass(size, int(facts["percentage"] * size)))
        for size in noise.shape[-2:]
    )
    taken = recorded["dct.mask"][0, 0, 0]
    wanted = torch.zeros_like(taken)
    wanted[:rows, :columns] = 1
    exact("dct.mask", wanted, taken)


def check_sampling(case: Case) -> None:
    """The pipeline's own call: residuals after each step and at the end, with and without DCT."""
    recorded, x = case.tensors, case.tensors["image.x_r"]
    states, latents = case.sampled()
    timesteps = recorded["scheduler.timesteps"].tolist()
    alphas = recorded["scheduler.alphas_cumprod"]
    # After the last step the first training timestep's level is left, as set_alpha_to_one says.
    signals = [*(alphas[t].sqrt() for t in timesteps[1:]), alphas[0].sqrt()]
    residuals = [z - a * x for z, a in zip(states, signals, strict=True)]
    name = "pipeline.latents_after_step"
    case.close_to_scale(name, torch.cat(residuals), recorded[name], FINAL)
    name = "pipeline.final_latents"
    case.close_to_scale(name, latents[:, :, 1:] - x, recorded[name], FINAL)
    case.close_to_scale("the first frame", latents[:, :, :1], x, MODULE)
    name = "pipeline_nodct.final_latents"
    _, latents = case.sampled(dct_init=False)
    case.close_to_scale(name, latents[:, :, 1:] - x, recorded[name], FINAL)


def check_decoding(case: Case) -> None:
    """Frames of the recorded final latents, by both VAEs."""
    final = case.clean("pipeline.final_latents")
    video = case.pipeline.decode_latents(final[None], case.facts["decode_chunk_size"])[0]
    name = "pipeline.frames_float"
    case.close_to_scale(name, video.transpose(0, 1), case.tensors[name], DECODED)
    close_frames(case, "pipeline.frames_u8", case.decode(final))
    close_frames(case, "pipeline.frames_u8_plain_vae", case.decode(final, case.plain))


def close_frames(case: Case, name: str, frames: "np.ndarray[Any, Any]") -> None:
    """At most one level off anywhere; off at all in few places."""
    got, wanted = torch.from_numpy(frames), case.tensors[name]
    case.close(name, got, wanted, LEVEL)
    share = float((got != wanted).double().mean())
    case.at_most(f"{name}: share differing", share, LEVELS_DIFFERING)


def check_distilled(case: Case, path: PathName) -> None:
    """Residuals after each update of one path, and where they end."""
    states, clip = case.distill(path)
    x, name = case.tensors[RECORDED_LATENT[path]], f"epa.m_{path}_after_iter"
    case.close_to_scale(name, torch.cat(states) - x, case.tensors[name], FINAL)
    name = f"epa.z0_{path}"
    case.close_to_scale(name, clip[None, :, 1:], case.tensors[name], FINAL)
    case.close_to_scale("its first frame", clip[None, :, :1], x, MODULE)
    # The first update says what the network and guidance answered: z - x = -alpha w (eps_t - eps).
    facts, noise = case.facts["epa"], case.tensors[f"epa.noise_{path}"]
    weight = 1 - case.tensors["scheduler.alphas_cumprod"][facts["timesteps_used"][0]]
    answered = noise - (states[0] - x) / (facts["alphas"][0] * weight)
    name = f"epa.first_guided_eps_{path}"
    case.close_to_scale(name, answered, case.tensors[name], FINAL)


def check_fusion(case: Case) -> None:
    """Fusion of the recorded paths, and of the standing clips."""
    recorded, x = case.tensors, case.tensors["image.x_r"]
    clips = [torch.cat([x, recorded[f"epa.z0_{path}"]], dim=2)[0] for path in PATHS]
    fused = case.family.fuse(*clips, "slerp", False, case.call())
    case.close_to_scale("epa.z0_fused", fused[None, :, 1:], recorded["epa.z0_fused"], MODULE)
    still = case.static()
    fused = case.family.fuse(*still.values(), "slerp", False, case.call())
    name = "epa_slerp_only.z0_fused"
    case.close_to_scale(name, fused[None, :, 1:], recorded[name], MODULE)
    lerped = case.family.fuse(*clips, "lerp", False, case.call())[None, :, 1:]
    real, proxy = (recorded[f"epa.z0_{path}"] for path in PATHS)
    mixed = real + recorded["epa.betas"].view(1, 1, -1, 1, 1) * (proxy - real)
    case.close_to_scale("fused by epa.betas", lerped, mixed, MODULE)


def check_variant(case: Case, name: str) -> None:
    """Final residuals of the method or an ablation; of the whole method the start and frames."""
    variant, recorded = VARIANTS[name], case.tensors
    clips = case.static() if variant == "S" else case.refined
    starts: list[Tensor] = []
    hook = case.pipeline.unet.register_forward_pre_hook(
        lambda _, args: starts.append(args[0]), with_kwargs=False
    )
    try:
        final = case.final(variant, clips)
    finally:
        hook.remove()
    wanted = recorded[f"{name}.final_latents"]
    x = recorded["image.x_r"]
    case.close_to_scale(f"{name}.final_latents", final[None, :, 1:] - x, wanted, FINAL)
    if name == "epa":
        # The schedule is asked for first, which ends before any call of the network.
        case.close_to_scale("epa.init_latents", starts[0][:1], recorded["epa.init_latents"], FINAL)
        close_frames(case, "epa.frames_u8", case.decode(final))


def check_reading(case: Case, name: str) -> None:
    """Fused clip and final residuals of a reading that was not chosen."""
    reading, recorded, x = READINGS[name], case.tensors, case.tensors["image.x_r"]
    clips = {path: case.distill(path, reading)[1] for path in PATHS}
    fused = case.family.fuse(*clips.values(), "slerp", False, case.call(reading))[None, :, 1:]
    residual = f"{name}.m0_fused" in recorded
    key = f"{name}.{'m0' if residual else 'z0'}_fused"
    case.close_to_scale(key, fused - x if residual else fused, recorded[key], FINAL)
    final = case.final("V+S", clips, reading)[None, :, 1:] - x
    case.close_to_scale(f"{name}.final_latents", final, recorded[f"{name}.final_latents"], FINAL)


def stages(case: Case) -> Iterable[tuple[str, Callable[[Case], None]]]:
    """The checks of a case by name; some of what they look at not every case has."""
    yield from {
        "tensors": check_tensors,
        "images": check_images,
        "latents": check_latents,
        "prompt": check_prompt,
        "schedule": check_schedule,
        "modules": check_modules,
        "unet": check_unet,
        "motion": check_motion,
        "dct": check_dct,
        "sampling": check_sampling,
        "decoding": check_decoding,
        "fusion": check_fusion,
    }.items()
    if "probe.multihead.out" in case.tensors:
        yield "heads", check_heads
    if "unet_odd.out" in case.tensors:
        yield "odd-size", check_odd_size
    for path in PATHS:
        yield f"distilled-{path}", partial(check_distilled, path=path)
    for name in VARIANTS:
        yield f"variant-{name}", partial(check_variant, name=name)
    for name in READINGS:
        if f"{name}.final_latents" in case.tensors:
            yield f"reading-{name}", partial(check_reading, name=name)
