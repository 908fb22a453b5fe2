"""Each mistake that an implementation of Cinemo could make fails the very check that looks for it.

As in ``test_mutations``: the check passes without the mutation, so the failure is the mutation's.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cinemo_stages as stages
import pytest
import torch
from cinemo_case import CinemoCase
from kinds import checks_of
from method_mutations import (
    Patch,
    constant_step_size,
    lerp_for_slerp,
    one_angle_for_all_frames,
    one_angle_per_pixel,
    one_update_less,
    weight_of_one,
)
from torch import Tensor, nn

from epa_core import fuse
from epa_core import stages as method
from epa_core.families import cinemo as families
from epa_core.families.base import Family
from epa_core.families.cinemo import Cinemo
from epa_core.models import cinemo as pipelines
from epa_core.models import cinemo_inputs as inputs
from epa_core.models import cinemo_unet as network
from epa_core.models.cinemo import CinemoPipeline
from epa_core.models.cinemo_unet import ClipGroupNorm, MotionResidualUNet, TemporalAttention
from epa_core.noise_levels import NoiseLevel
from epa_core.runner import Batch, Runner

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def recorded() -> CinemoCase:
    found = (case for _, _, case in checks_of(GOLDEN) if isinstance(case, CinemoCase))
    return next(found)


def norms_per_frame(patch: Patch, case: CinemoCase) -> None:
    patch.setattr(ClipGroupNorm, "forward", nn.GroupNorm.forward)


def no_bias(patch: Patch, case: CinemoCase) -> None:
    own = network._RelativeBias.forward
    patch.setattr(network._RelativeBias, "forward", lambda *given: 0 * own(*given))


def bias_mirrored(patch: Patch, case: CinemoCase) -> None:
    own = network._RelativeBias.forward
    patch.setattr(network._RelativeBias, "forward", lambda *given: own(*given).transpose(1, 2))


def not_rotated(patch: Patch, case: CinemoCase) -> None:
    patch.setattr(network, "rotated", lambda heads, angles: heads)


def halves_rotated(patch: Patch, case: CinemoCase) -> None:
    """Pairs (i, i + 16) in place of (2i, 2i + 1)."""
    own = network.rotated

    def rotated(heads: Tensor, angles: Any) -> Tensor:
        turned, rest = heads.split([network.ROTATED, heads.shape[-1] - network.ROTATED], -1)
        pairs = turned.unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2)
        pairs = own(pairs, angles).unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2)
        return torch.cat([pairs, rest], dim=-1)

    patch.setattr(network, "rotated", rotated)


def whole_head_rotated(patch: Patch, case: CinemoCase) -> None:
    patch.setattr(network, "ROTATED", 40)


def time_before_text(patch: Patch, case: CinemoCase) -> None:
    def forward(
        block: Any, hidden: Tensor, *_: Any, encoder_hidden_states: Tensor, **__: Any
    ) -> Any:
        hidden = hidden + block.attn1(block.norm1(hidden))
        hidden = hidden + block._over_time(block.norm_temp(hidden))
        hidden = hidden + block.attn2(block.norm2(hidden), encoder_hidden_states)
        return hidden + block.ff(block.norm3(hidden))

    patch.setattr(network._MotionBlock, "forward", forward)


def _given(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Patch, Any], None]:
    """The network is given something else."""

    def patch(patch: Patch, case: CinemoCase) -> None:
        own, names = (
            MotionResidualUNet.forward,
            ("sample", "timestep", "encoder_hidden_states", "base_content", "motion"),
        )

        def forward(unet: Any, *given: Any, **named: Any) -> Any:
            return own(unet, **change(dict(zip(names, given, strict=False)) | named))

        patch.setattr(MotionResidualUNet, "forward", forward)

    return patch


image_not_added = _given(lambda given: given | {"sample": given["sample"] - given["base_content"]})
bucket_off_by_one = _given(lambda given: given | {"motion": given["motion"] + 1})
image_scaled = _given(lambda given: given | {"base_content": 0.99 * given["base_content"]})


def last_frame_dropped(patch: Patch, case: CinemoCase) -> None:
    """As many frames as there should be, but from the painting's own on."""
    own = MotionResidualUNet.forward

    def forward(unet: Any, sample: Tensor, *given: Any, **named: Any) -> Any:
        answers: list[Tensor] = []
        hook = unet.conv_out.register_forward_hook(lambda _, __, answer: answers.append(answer))
        own(unet, sample, *given, **named)
        hook.remove()
        return (answers[0].unflatten(0, (len(sample), -1))[:, :-1].transpose(1, 2),)

    patch.setattr(MotionResidualUNet, "forward", forward)


def _scheduler(**settings: Any) -> Callable[[Patch, CinemoCase], None]:
    def patch(patch: Patch, case: CinemoCase) -> None:
        own = case.pipeline.scheduler
        patch.setattr(case.pipeline, "scheduler", type(own).from_config(own.config, **settings))

    return patch


def image_not_subtracted(patch: Patch, case: CinemoCase) -> None:
    """The network is given absolute latents."""
    patch.setattr(pipelines, "levels", lambda scheduler: [replace(NoiseLevel(0, 0, 1))] * 1000)


def residual_added_twice(patch: Patch, case: CinemoCase) -> None:
    patch.setattr(pipelines, "_last_signal", lambda scheduler: 0.0)


def no_dct(patch: Patch, case: CinemoCase) -> None:
    patch.setattr(inputs, "dct_init", lambda noise, *_: noise)


def other_share(patch: Patch, case: CinemoCase) -> None:
    own = inputs.dct_init
    patch.setattr(inputs, "dct_init", lambda noise, image, level, _: own(noise, image, level, 0.4))


def noise_of_the_image_left_out(patch: Patch, case: CinemoCase) -> None:
    own = inputs.dct_init

    def dct_init(noise: Tensor, image: Tensor, level: NoiseLevel, share: float) -> Tensor:
        return own(noise, image, replace(level, s=0.0), share)

    patch.setattr(inputs, "dct_init", dct_init)


def mode_for_sample(patch: Patch, case: CinemoCase) -> None:
    own = CinemoPipeline._encoded
    patch.setattr(CinemoPipeline, "_encoded", lambda *given: own(*given[:3], "mode"))


def stretched(patch: Patch, case: CinemoCase) -> None:
    own = inputs.cropped

    def cropped(image: Any, width: int, height: int) -> Tensor:
        return own(image.resize((width, height)), width, height)

    patch.setattr(inputs, "cropped", cropped)


def rounded_frames(patch: Patch, case: CinemoCase) -> None:
    patch.setattr(Cinemo, "to_bytes", Family.to_bytes)


def decoded_at_once(patch: Patch, case: CinemoCase) -> None:
    own = CinemoPipeline.decode_latents
    patch.setattr(CinemoPipeline, "decode_latents", lambda *given: own(*given[:2], 1000))


def guidance_too_strong(patch: Patch, case: CinemoCase) -> None:
    own = pipelines.by_text
    patch.setattr(pipelines, "by_text", lambda predicted, scale: own(predicted, scale + 0.1))


def condition_is_the_painting(patch: Patch, case: CinemoCase) -> None:
    """The proxy's path sees the painting, not the proxy."""
    own, painting = Runner.run, case.images["real"]

    def run(runner: Runner, batch: Batch, *rest: Any) -> Tensor:
        return own(runner, replace(batch, images=[painting] * len(batch.images)), *rest)

    patch.setattr(Runner, "run", run)


def _reading(reading: str) -> Callable[[Patch, CinemoCase], None]:
    def patch(patch: Patch, case: CinemoCase) -> None:
        own = CinemoCase.call
        patch.setattr(CinemoCase, "call", lambda case, *_: own(case, reading))

    return patch


def _fused_by(mutation: Callable[[Patch, Any], None]) -> Callable[[Patch, CinemoCase], None]:
    """A mistaken fusion of the method, where this family takes it from."""

    def patch(patch: Patch, case: CinemoCase) -> None:
        mutation(patch, case)
        patch.setattr(families, "fuse", fuse.fuse)

    return patch


def bucket_the_other_way(patch: Patch, case: CinemoCase) -> None:
    own = inputs.bucket_tensor
    patch.setattr(inputs, "bucket_tensor", lambda *given: 100 - own(*given))


def starts_a_step_later(patch: Patch, case: CinemoCase) -> None:
    own = method._starting_point

    def later(*given: Any) -> Any:
        levels, first = own(*given)
        return levels[1:], first + 1

    patch.setattr(method, "_starting_point", later)


def attention_unscaled(patch: Patch, case: CinemoCase) -> None:
    own = TemporalAttention.forward

    def forward(layer: Any, hidden: Tensor, *given: Any, **named: Any) -> Tensor:
        query = layer.to_q.weight.data
        layer.to_q.weight.data = query * (query.shape[0] // layer.heads) ** 0.5
        try:
            return own(layer, hidden, *given, **named)
        finally:
            layer.to_q.weight.data = query

    patch.setattr(TemporalAttention, "forward", forward)


REAL, PROXY = (partial(stages.check_distilled, path=path) for path in ("real", "proxy"))
EPA = partial(stages.check_variant, name="epa")
MUTATIONS = [
    (norms_per_frame, stages.check_modules, "probe.mid_resnet0.out"),
    (norms_per_frame, stages.check_unet, "unet.mid_block_out"),
    (no_bias, stages.check_modules, "probe.temporal_attn.out"),
    (bias_mirrored, stages.check_modules, "probe.temporal_attn.out"),
    (not_rotated, stages.check_modules, "probe.temporal_attn.out"),
    (halves_rotated, stages.check_modules, "probe.temporal_attn.out"),
    (whole_head_rotated, stages.check_modules, "probe.temporal_attn.out"),
    (attention_unscaled, stages.check_heads, "probe.multihead.out"),
    (time_before_text, stages.check_modules, "probe.mid_transformer.out"),
    (image_not_added, stages.check_unet, "unet.mid_block_out"),
    (image_scaled, stages.check_unet, "unet.mid_block_out"),
    (last_frame_dropped, stages.check_unet, "unet.out"),
    (bucket_off_by_one, stages.check_unet, "unet.mid_block_out"),
    (bucket_off_by_one, stages.check_motion, "motion.unet_out"),
    (_scheduler(beta_schedule="scaled_linear"), stages.check_schedule, "beta_schedule"),
    (_scheduler(steps_offset=0), stages.check_schedule, "steps_offset"),
    (_scheduler(set_alpha_to_one=True), stages.check_schedule, "set_alpha_to_one"),
    (_scheduler(timestep_spacing="trailing"), stages.check_schedule, "timestep_spacing"),
    (no_dct, stages.check_sampling, "latents_after_step"),
    (no_dct, stages.check_dct, "dct.latents"),
    (other_share, stages.check_dct, "dct.latents"),
    (noise_of_the_image_left_out, stages.check_dct, "dct.latents"),
    (mode_for_sample, stages.check_latents, "image.x_r"),
    (stretched, stages.check_images, "painting_pixels"),
    (guidance_too_strong, stages.check_sampling, "latents_after_step"),
    (rounded_frames, stages.check_decoding, "share differing"),
    (decoded_at_once, stages.check_decoding, "pipeline.frames_float"),
    (image_not_subtracted, REAL, "m_real_after_iter"),
    (guidance_too_strong, REAL, "m_real_after_iter"),
    (condition_is_the_painting, PROXY, "m_proxy_after_iter"),
    (_reading("doubled"), REAL, "m_real_after_iter"),
    (one_update_less, REAL, "shape"),
    (constant_step_size, REAL, "m_real_after_iter"),
    (weight_of_one, REAL, "m_real_after_iter"),
    (bucket_the_other_way, stages.check_sampling, "latents_after_step"),
    (_fused_by(one_angle_for_all_frames), stages.check_fusion, "epa.z0_fused"),
    (_fused_by(one_angle_per_pixel), stages.check_fusion, "epa.z0_fused"),
    (_fused_by(lerp_for_slerp), stages.check_fusion, "epa.z0_fused"),
    (_reading("painting-base"), PROXY, "m_proxy_after_iter"),
    (_reading("all-frames"), stages.check_fusion, "epa.z0_fused"),
    (_reading("residual"), stages.check_fusion, "epa.z0_fused"),
    (residual_added_twice, stages.check_sampling, "pipeline.final_latents"),
    (starts_a_step_later, EPA, "epa.final_latents"),
]


@pytest.mark.parametrize(("patch", "check", "sentence"), MUTATIONS)
def test_cinemo(recorded: CinemoCase, patch: Any, check: Any, sentence: str) -> None:
    check(recorded.fresh())
    with pytest.MonkeyPatch.context() as monkeypatch:
        patch(monkeypatch, recorded)
        with pytest.raises(AssertionError) as failure:
            check(recorded.fresh())
    assert sentence in str(failure.value)
