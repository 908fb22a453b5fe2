"""Each mistake that an implementation of ConsistI2V could make fails the check that looks for it.

As in ``test_mutations``: a mutation exchanges one function of the product, or one setting of the
released files, for a mistaken one; the check passes without it.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import Any

import consisti2v_stages as stages
import consisti2v_whole as whole
import pytest
import torch
from consisti2v_case import ConsistI2VCase
from diffusers.models.attention_processor import Attention
from kinds import checks_of
from method_mutations import (
    Patch,
    constant_step_size,
    lerp_for_slerp,
    one_angle_for_all_frames,
    one_angle_per_pixel,
    one_update_less,
    rounded_frames,
    weight_of_one,
)
from torch import Tensor, nn
from watching import watching

from epa_core.families.consisti2v import ConsistI2V
from epa_core.models import consisti2v as pipelines
from epa_core.models import consisti2v_inputs as inputs
from epa_core.models import consisti2v_layers as layers
from epa_core.models.consisti2v import ConsistI2VPipeline
from epa_core.models.consisti2v_unet import ConsistI2VUNet
from epa_core.runner import Batch, Runner

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def recorded() -> ConsistI2VCase:
    cases = [case for _, _, case in checks_of(GOLDEN) if isinstance(case, ConsistI2VCase)]
    return cases[0]


Mutation = Callable[[Patch, ConsistI2VCase], None]


def exchanged(owner: Any, name: str, mistaken: Any) -> Mutation:
    """``mistaken`` in place of an attribute."""
    return lambda patch, case: patch.setattr(owner, name, mistaken)


def _turn(
    x: Tensor, *, split: int = 1, pairs_apart: bool = False, first: int = 0, share: int = 2
) -> Tensor:
    """Rotary positions with a mistake: per head, halves as pairs, later positions."""
    heads = x.unflatten(-1, (split, -1))
    width = heads.shape[-1]
    part = width // share
    angles = torch.outer(torch.arange(x.shape[1]).float() + first, layers.frequencies(2 * part))[
        :, None, None
    ]
    cosine, sine = angles.cos(), angles.sin()
    turned = heads[..., :part]
    if pairs_apart:
        one, other = turned.chunk(2, dim=-1)
    else:
        one, other = turned.unflatten(-1, (-1, 2)).unbind(-1)
    both = [one * cosine - other * sine, other * cosine + one * sine]
    joined = torch.cat(both, -1) if pairs_apart else torch.stack(both, -1).flatten(-2)
    return torch.cat([joined, heads[..., part:]], dim=-1).flatten(-2)


def cross_queries_not_turned(patch: Patch, case: ConsistI2VCase) -> None:
    def to_text(attn: Attention, x: Tensor, text: Tensor) -> Tensor:
        queries = attn.to_q(x).flatten(1, 2)
        found = layers.attend(queries, attn.to_k(text), attn.to_v(text), attn.heads)
        return attn.to_out[0](found).unflatten(1, x.shape[1:3])

    patch.setattr(layers, "to_text", to_text)


def _over_frames(
    attn: Attention,
    x: Tensor,
    around: Tensor,
    *,
    position: int | None = None,
    zero_border: bool = False,
) -> Tensor:
    """Attention over time with the neighbours turned, missing, or zero beyond the border."""
    query, key, value = attn.to_q(x), attn.to_k(x), attn.to_v(x)
    keys, values = layers.turned(key).transpose(1, 2), value.transpose(1, 2)
    nearby = x[:, 0][:, around]
    if zero_border:
        outside = around == torch.arange(len(around))[:, None]
        # A place clamped onto another one is seen twice; find those by their repetition too.
        for row, seen in enumerate(around.tolist()):
            outside[row] |= torch.tensor([seen.index(one) != at for at, one in enumerate(seen)])
        nearby = nearby.masked_fill(outside[None, :, :, None], 0.0)
    if position is not None or zero_border:
        near = attn.to_k(nearby)
        if position:
            near = layers.turned(near[:, None].expand(-1, position + 1, -1, -1, -1).flatten(2, 3))
            near = near[:, -1].unflatten(1, around.shape)
        keys, values = torch.cat([keys, near], 2), torch.cat([values, attn.to_v(nearby)], 2)
    queries = layers.turned(query).transpose(1, 2).flatten(0, 1)
    found = layers.attend(queries, keys.flatten(0, 1), values.flatten(0, 1), attn.heads)
    return attn.to_out[0](found).unflatten(0, (len(x), -1)).transpose(1, 2)


def with_centre(patch: Patch, case: ConsistI2VCase) -> None:
    own = layers.neighbours

    def nine(height: int, width: int, device: torch.device) -> Tensor:
        centre = torch.arange(height * width, device=device)[:, None]
        return torch.cat([own(height, width, device), centre], dim=1)

    patch.setattr(layers, "neighbours", nine)


def _convolutions(change: Callable[[Patch, nn.GroupNorm], None]) -> Mutation:
    def patch(patch: Patch, case: ConsistI2VCase) -> None:
        for layer in case.pipeline.unet.modules():
            if isinstance(layer, layers.TemporalConv):
                change(patch, layer.norm1)
                change(patch, layer.norm2)

    return patch


def no_stride(patch: Patch, case: ConsistI2VCase) -> None:
    embedding = case.pipeline.unet.frame_stride_embedding
    patch.setattr(embedding, "forward", lambda features: torch.zeros(()))


def heads_as_width(patch: Patch, case: ConsistI2VCase) -> None:
    for attention in case.pipeline.unet.modules():
        if isinstance(attention, Attention):
            patch.setattr(attention, "heads", attention.to_q.out_features // attention.heads)


def scheduled(**config: Any) -> Mutation:
    def patch(patch: Patch, case: ConsistI2VCase) -> None:
        own = case.pipeline.scheduler
        patch.setattr(case.pipeline, "scheduler", type(own).from_config(own.config, **config))

    return patch


def started(**settings: Any) -> Mutation:
    def patch(patch: Patch, case: ConsistI2VCase) -> None:
        own = ConsistI2VPipeline.start
        patch.setattr(ConsistI2VPipeline, "start", lambda *given: replace(own(*given), **settings))

    return patch


def called(**mistaken: Any) -> Mutation:
    """Every call of the method with other settings than the case's."""

    def patch(patch: Patch, case: ConsistI2VCase) -> None:
        own = Runner.run

        def run(runner: Runner, batch: Batch, *rest: Any) -> Tensor:
            return own(replace(runner, call=replace(runner.call, **mistaken)), batch, *rest)

        patch.setattr(Runner, "run", run)

    return patch


def condition_is_the_painting(patch: Patch, case: ConsistI2VCase) -> None:
    own = Runner.run

    def run(runner: Runner, batch: Batch, *rest: Any) -> Tensor:
        options = {**runner.call.options, "first_frame_latents": case.first_frame("real")}
        return own(replace(runner, call=replace(runner.call, options=options)), batch, *rest)

    patch.setattr(Runner, "run", run)


def first_frame_noisy_for_text(patch: Patch, case: ConsistI2VCase) -> None:
    """Frame 0 goes in as noisy as the others."""
    forward = ConsistI2VUNet.forward

    @wraps(forward)
    def noisy(unet: Any, sample: Tensor, t: Any, text: Tensor, first: Tensor, stride: Any) -> Any:
        return forward(unet, sample, t, text, sample[:, :, :1], stride)

    patch.setattr(ConsistI2VUNet, "forward", noisy)


def frame_init_left_on(patch: Patch, case: ConsistI2VCase) -> None:
    """EPA's start taken for noise."""
    own = ConsistI2VPipeline.__call__

    @wraps(own)
    def call(pipeline: Any, *given: Any, latents: Tensor | None = None, **named: Any) -> Any:
        if latents is not None:
            first = named["first_frame_latents"]
            whole = torch.cat([first, latents], dim=2)
            still = first.expand_as(whole)
            latents = pipeline.frame_init(still, whole, pipeline.start({}))[:, :, 1:]
        return own(pipeline, *given, latents=latents, **named)

    patch.setattr(ConsistI2VPipeline, "__call__", call)


def last_frame_dropped(patch: Patch, case: ConsistI2VCase) -> None:
    """As many frames as there should be, but from frame 0 on."""
    forward = ConsistI2VUNet.forward

    @wraps(forward)
    def keeping(unet: Any, sample: Tensor, *given: Any, **named: Any) -> Any:
        with watching(unet.conv_out) as calls:
            forward(unet, sample, *given, **named)
        return (calls[0].answer.unflatten(0, (len(sample), -1))[:, :-1].transpose(1, 2),)

    patch.setattr(ConsistI2VUNet, "forward", keeping)


def fused_without_frame_0(patch: Patch, case: ConsistI2VCase) -> None:
    """Fractions counted over the frames that are stepped."""
    own = ConsistI2V.fuse

    def fused(family: Any, real: Tensor, proxy: Tensor, *how: Any) -> Tensor:
        return torch.cat([real[:, :1], own(family, real[:, 1:], proxy[:, 1:], *how)], dim=1)

    patch.setattr(ConsistI2V, "fuse", fused)


def renoised_without_frame_0(patch: Patch, case: ConsistI2VCase) -> None:
    """Noise for the frames that are stepped, which is another than that of all."""

    def noise(family: Any, pipeline: Any, clip: Tensor, call: Any, generator: Any) -> Tensor:
        own = torch.randn(clip[None, :, 1:].shape, generator=generator)
        return torch.cat([torch.zeros_like(clip[None, :, :1]), own], dim=2)

    patch.setattr(ConsistI2V, "renoising_noise", noise)


def own_noise_first(patch: Patch, case: ConsistI2VCase) -> None:
    def noise(kind: str, alpha: float, shape: Any, generator: Any) -> Tensor:
        own = torch.randn((1, *shape), generator=generator)
        shared = torch.randn((1, shape[0], 1, *shape[2:]), generator=generator)
        return inputs.mixed(shared, own, alpha)

    patch.setattr(inputs, "clip_noise", noise)


def mode_for_sample(patch: Patch, case: ConsistI2VCase) -> None:
    own = ConsistI2VPipeline.encode_images
    patch.setattr(ConsistI2VPipeline, "encode_images", lambda *given: own(*given[:3]))


def clean_first_frame_for_all(patch: Patch, case: ConsistI2VCase) -> None:
    """Three-way guidance whose part without the image has it all the same."""
    forward = ConsistI2VUNet.forward

    @wraps(forward)
    def clean(unet: Any, *given: Any, first_frame_latents: Tensor, **named: Any) -> Any:
        first = first_frame_latents[-1:].expand_as(first_frame_latents)
        return forward(unet, *given, first_frame_latents=first, **named)

    patch.setattr(ConsistI2VUNet, "forward", clean)


def smoothed(patch: Patch, case: ConsistI2VCase) -> None:
    own = torch.nn.functional.interpolate
    patch.setattr(inputs.functional, "interpolate", partial(own, antialias=True))


def _swapped_alpha(alpha: Tensor) -> Tensor:
    return alpha.clamp(0, 1)


UNET = [
    (exchanged(layers, "with_first_frame", lambda tokens, frames: tokens), "no first frame"),
    (exchanged(layers, "over_frames", _over_frames), "no neighbours"),
    (with_centre, "window with its centre"),
    (exchanged(layers, "over_frames", partial(_over_frames, zero_border=True)), "zero border"),
    (exchanged(layers, "turned", lambda x: x), "no rotary positions"),
    (exchanged(layers, "turned", partial(_turn, split=8)), "rotary per head"),
    (exchanged(layers, "turned", partial(_turn, pairs_apart=True)), "rotary halves"),
    (exchanged(layers, "turned", partial(_turn, share=1)), "rotary on all channels"),
    (exchanged(layers, "over_frames", partial(_over_frames, position=5)), "neighbours later"),
    (cross_queries_not_turned, "cross queries not turned"),
    (exchanged(layers, "weight_of", lambda alpha: 1 - alpha), "alpha not clamped"),
    (exchanged(layers, "weight_of", _swapped_alpha), "alpha swapped"),
    (_convolutions(lambda patch, norm: patch.setattr(norm, "num_groups", 16)), "16 groups"),
    (_convolutions(lambda patch, norm: patch.setattr(norm, "eps", 1e-5)), "eps 1e-5"),
    (no_stride, "no frame stride"),
    (heads_as_width, "heads read as their width"),
    (first_frame_noisy_for_text, "noisy first frame"),
    (last_frame_dropped, "last frame dropped"),
]


# Checks that passed without a mutation; there is one case.
_passed: set[int] = set()


def _fails(case: ConsistI2VCase, check: Callable[[Any], None], mutation: Any, said: str) -> None:
    if id(check) not in _passed:
        check(case.fresh())
        _passed.add(id(check))
    with pytest.MonkeyPatch.context() as monkeypatch:
        mutation(monkeypatch, case)
        with pytest.raises(AssertionError) as failure:
            check(case.fresh())
    assert said in str(failure.value)


@pytest.mark.parametrize("mutation", [pytest.param(one, id=name) for one, name in UNET])
def test_the_denoiser(recorded: ConsistI2VCase, mutation: Mutation) -> None:
    _fails(recorded, stages.check_unet, mutation, "unet.")


DISTILLED = partial(whole.check_distilled, path="real")
FUSED = partial(stages.check_fusion, half=False)
AWAKENED = partial(whole.check_awakened, half=False)
REST: list[tuple[str, Mutation, Any, str]] = [
    ("smoothed", smoothed, stages.check_images, "pre.pixel_values"),
    ("vanilla", exchanged(inputs, "mixed", lambda _, own, __: own), stages.check_noise, "initial"),
    ("filter", started(frame_init_filter="butterworth"), stages.check_frame_init, "filter"),
    ("level", started(frame_init_timestep=999), stages.check_frame_init, "noised_static"),
    ("cut", started(frame_init_temporal=0.5), stages.check_frame_init, "filter"),
    ("off", started(frame_init="off"), whole.check_first_step, "default.step0"),
    ("betas", scheduled(beta_schedule="scaled_linear"), stages.check_schedule, "w is"),
    ("offset", scheduled(steps_offset=0), stages.check_schedule, "timesteps"),
    ("alpha to one", scheduled(set_alpha_to_one=False), AWAKENED, "epa.final"),
    ("weight", weight_of_one, stages.check_schedule, "w is"),
    ("curve", constant_step_size, DISTILLED, "vsds_out"),
    ("one less", one_update_less, DISTILLED, "were made"),
    ("angle", one_angle_for_all_frames, FUSED, "epa.fused"),
    ("pixels", one_angle_per_pixel, FUSED, "epa.fused"),
    ("lerp", lerp_for_slerp, FUSED, "epa.fused"),
    ("frame 0", fused_without_frame_0, AWAKENED, "epa.final_latents"),
    (
        "fewer drawn",
        renoised_without_frame_0,
        partial(stages.check_renoising, half=False),
        "epa.renoise_noise",
    ),
    ("order", own_noise_first, stages.check_noise, "noise.initial_latents"),
    ("mode", mode_for_sample, stages.check_images, "vae.first_frame_latents"),
    ("mode drawn", mode_for_sample, stages.check_one_stream, "frameinit.out"),
    ("three-way", clean_first_frame_for_all, whole.check_three_way, "both.step0.unet_out"),
    (
        "unguided",
        called(guidance_scale=1.0),
        partial(stages.check_first_update, path="real"),
        "after_step0",
    ),
    (
        "painting",
        condition_is_the_painting,
        partial(stages.check_first_update, path="proxy"),
        "after_step0",
    ),
    ("left on", frame_init_left_on, AWAKENED, "epa.final_latents"),
    ("rescaled", exchanged(pipelines, "rescale_noise_cfg", lambda mixed, *_: mixed),
     stages.check_guidance, "text_rescaled"),
    ("rounded", rounded_frames, AWAKENED, "share differing"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("mutation", "check", "said"), [pytest.param(*rest, id=name) for name, *rest in REST]
)
def test_the_rest(recorded: ConsistI2VCase, mutation: Mutation, check: Any, said: str) -> None:
    _fails(recorded, check, mutation, said)
