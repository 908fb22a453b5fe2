"""Tiny pipelines that fill in a video under a mask: Wan VACE, EasyAnimate InP."""

from collections.abc import Callable

import diffusers
from gaussian_oracle import Oracle
from tiny_parts import Tiny, built, call_of, text
from tiny_transformers import wan_vae


def wan_vace() -> Tiny:
    """Wan VACE: Wan 2.1 with a second stream that sees the given frames and the mask."""
    transformer = built(
        lambda: diffusers.WanVACETransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=16,
            out_channels=16,
            text_dim=32,
            freq_dim=32,
            ffn_dim=32,
            num_layers=2,
            rope_max_seq_len=32,
            vace_layers=[0],
            vace_in_channels=96,
        )
    )
    pipeline = diffusers.WanVACEPipeline(
        tokenizer=None,
        text_encoder=None,
        transformer=transformer,
        vae=wan_vae(),
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )
    call = call_of(9, 5.0, max_sequence_length=16, **text(16, 32))
    return Tiny(pipeline, call, Oracle("flow"), restarts=(0,))


def easyanimate() -> Tiny:
    """EasyAnimate V5.1 InP: mask and noised picture as channels; a constant shift of e."""
    transformer = built(
        lambda: diffusers.EasyAnimateTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=9,
            out_channels=4,
            time_embed_dim=8,
            text_embed_dim=16,
            num_layers=1,
            mmdit_layers=1,
            patch_size=2,
        )
    )
    vae = built(
        lambda: diffusers.AutoencoderKLMagvit(
            down_block_types=("SpatialDownBlock3D", *("SpatialTemporalDownBlock3D",) * 3),
            up_block_types=("SpatialUpBlock3D", *("SpatialTemporalUpBlock3D",) * 3),
            block_out_channels=(8,) * 4,
            latent_channels=4,
            layers_per_block=1,
            norm_num_groups=2,
            spatial_group_norm=False,
        )
    )
    vae.register_to_config(cache_mag_vae=True)  # read by its call, set by no default
    pipeline = diffusers.EasyAnimateInpaintPipeline(
        vae=vae,
        text_encoder=None,
        tokenizer=None,
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
    )
    # The noise on its condition is drawn after its start sample, from one generator, as PIA's.
    call = call_of(9, 5.0, **text(16, 16, mask=True))
    return Tiny(pipeline, call, Oracle("flow"), restarts=())


BUILDERS: dict[str, Callable[[], Tiny]] = {"wan_vace": wan_vace, "easyanimate": easyanimate}
