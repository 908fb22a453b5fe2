"""Real diffusers image-to-video pipelines at tiny size with random weights: CPU, no downloads.

Text enters as precomputed embeddings, so no tokenizer or text encoder is needed. Schedulers have
the released checkpoints' shape (prediction type, zero terminal signal, shifts), and VAE statistics
are not trivial, so that a forgotten normalisation shows.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from gaussian_oracle import Oracle
from tiny_animate_anything import WIDTH, write_released_checkpoint
from tiny_inpainting import BUILDERS as INPAINTING
from tiny_parts import (
    Tiny,
    built,
    call_of,
    clip_processor,
    clip_vision,
    image_vae,
    noise,
    picture,
    text,
)
from tiny_transformers import BUILDERS as TRANSFORMERS
from tiny_transformers import ltx_scheduler, wan_vae

__all__ = ["BUILDERS", "TINY_OF_CARD", "Tiny", "build", "picture"]


def i2vgenxl() -> Tiny:
    """I2VGen-XL: cosine betas, zero terminal SNR, leading spacing, v-prediction."""
    unet = built(
        lambda: diffusers.I2VGenXLUNet(
            block_out_channels=(4, 8),
            layers_per_block=1,
            sample_size=16,
            down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
            cross_attention_dim=4,
            attention_head_dim=4,
            num_attention_heads=None,
            norm_num_groups=2,
        )
    )
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        rescale_betas_zero_snr=True,
        timestep_spacing="leading",
        steps_offset=1,
    )
    pipeline = diffusers.I2VGenXLPipeline(
        vae=image_vae(),
        text_encoder=None,
        tokenizer=None,
        image_encoder=clip_vision(32, 4, 4),
        feature_extractor=clip_processor(),
        unet=unet,
        scheduler=scheduler,
    )
    return Tiny(pipeline, call_of(4, 9.0, target_fps=16, **text(7, 4)), Oracle("v_prediction"))


def svd() -> Tiny:
    """Stable Video Diffusion: EDM, Karras sigmas from 700, continuous timesteps, v-prediction."""
    unet = built(
        lambda: diffusers.UNetSpatioTemporalConditionModel(
            block_out_channels=(32, 64),
            layers_per_block=1,
            sample_size=32,
            down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
            cross_attention_dim=32,
            num_attention_heads=8,
            projection_class_embeddings_input_dim=96,
            addition_time_embed_dim=32,
            num_frames=4,
        )
    )
    vae = built(
        lambda: diffusers.AutoencoderKLTemporalDecoder(
            block_out_channels=[32, 64],
            down_block_types=["DownEncoderBlock2D"] * 2,
            latent_channels=4,
        )
    )
    scheduler = diffusers.EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        sigma_max=700.0,
        sigma_min=0.002,
        steps_offset=1,
        timestep_spacing="leading",
        timestep_type="continuous",
        use_karras_sigmas=True,
    )
    pipeline = diffusers.StableVideoDiffusionPipeline(
        vae=vae,
        image_encoder=clip_vision(32, 32, 4, side=224, patch=56),
        unet=unet,
        scheduler=scheduler,
        feature_extractor=clip_processor(),
    )
    call = call_of(4, 3.0, side=16, fps=7, motion_bucket_id=127)
    return Tiny(pipeline, call, Oracle("v_prediction", (2, 4), told="edm"))


def cogvideox15() -> Tiny:
    """CogVideoX 1.5, whose latent frames are padded to whole temporal patches."""
    return cogvideox(patch_size_t=2)


def cogvideox(patch_size_t: int | None = None) -> Tiny:
    """CogVideoX-5b-I2V: zero terminal SNR, trailing, v-prediction; 1.5 has patch_size_t 2.

    1.0 has learned positions for one size. 1.5 has none, but a largest size (300, as released).
    """
    sample = 300 if patch_size_t else 4
    transformer = built(
        lambda: diffusers.CogVideoXTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=8,
            out_channels=4,
            time_embed_dim=2,
            text_embed_dim=32,
            num_layers=1,
            sample_width=sample,
            sample_height=sample,
            sample_frames=9,
            patch_size=2,
            patch_size_t=patch_size_t,
            patch_bias=patch_size_t is None,
            max_text_seq_length=16,
            use_rotary_positional_embeddings=True,
            use_learned_positional_embeddings=patch_size_t is None,
            ofs_embed_dim=2 if patch_size_t else None,
        )
    )
    vae = built(
        lambda: diffusers.AutoencoderKLCogVideoX(
            down_block_types=("CogVideoXDownBlock3D",) * 4,
            up_block_types=("CogVideoXUpBlock3D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            latent_channels=4,
            layers_per_block=1,
            norm_num_groups=2,
        )
    )
    scheduler = diffusers.CogVideoXDDIMScheduler(
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=1.0,
        timestep_spacing="trailing",
        clip_sample=False,
    )
    pipeline = diffusers.CogVideoXImageToVideoPipeline(
        tokenizer=None, text_encoder=None, vae=vae, transformer=transformer, scheduler=scheduler
    )
    call = call_of(9, 6.0, max_sequence_length=16, **text(16, 32))
    return Tiny(pipeline, call, Oracle("v_prediction", (2, 4)))


def _wan_transformer(in_channels: int, image_dim: int | None, seed: int = 0) -> Any:
    return built(
        lambda: diffusers.WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=in_channels,
            out_channels=16,
            text_dim=32,
            freq_dim=32,
            ffn_dim=32,
            num_layers=1,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
            rope_max_seq_len=32,
            image_dim=image_dim,
        ),
        seed,
    )


def _wan(shift: float, **components: Any) -> Any:
    scheduler = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
    )
    return diffusers.WanImageToVideoPipeline(
        tokenizer=None, text_encoder=None, vae=wan_vae(), scheduler=scheduler, **components
    )


def wan21() -> Tiny:
    """Wan 2.1: flow matching by UniPC, CLIP image tokens, mask and image latents as channels."""
    pipeline = _wan(
        3.0,
        image_processor=clip_processor(),
        image_encoder=clip_vision(4, 4, 2),
        transformer=_wan_transformer(36, image_dim=4),
    )
    call = call_of(9, 5.0, max_sequence_length=16, **text(16, 32))
    # UniPC looks back at earlier steps, so it is exact from step 0 only.
    return Tiny(pipeline, call, Oracle("flow", (1, 16)), restarts=(0,))


def wan22() -> Tiny:
    """Wan 2.2 A14B: two experts, switched at 0.9 of the noise."""
    pipeline = _wan(
        5.0,
        transformer=_wan_transformer(36, image_dim=None),
        transformer_2=_wan_transformer(36, image_dim=None, seed=7),
        boundary_ratio=0.9,
    )
    options = {"guidance_scale_2": 3.5, "max_sequence_length": 16, **text(16, 32)}
    return Tiny(pipeline, call_of(9, 5.0, **options), Oracle("flow", (1, 16)), restarts=(0,))


def wan22_5b() -> Tiny:
    """Wan 2.2 TI2V-5B: a timestep per token, frame 0 overwritten by the clean painting."""
    pipeline = _wan(5.0, transformer=_wan_transformer(16, image_dim=None), expand_timesteps=True)
    call = call_of(9, 5.0, max_sequence_length=16, **text(16, 32))
    return Tiny(pipeline, call, Oracle("flow"), restarts=(0,))


def ltx(timestep_conditioning: bool = False) -> Tiny:
    """LTX-Video: packed tokens, clean first frame, dynamic shift with a terminal of 0.1.

    From 0.9.1 on its decoder denoises too (``timestep_conditioning``).
    """
    transformer = built(
        lambda: diffusers.LTXVideoTransformer3DModel(
            in_channels=8,
            out_channels=8,
            num_attention_heads=4,
            attention_head_dim=8,
            cross_attention_dim=32,
            num_layers=1,
            caption_channels=32,
        )
    )
    vae = built(
        lambda: diffusers.AutoencoderKLLTXVideo(
            latent_channels=8,
            block_out_channels=(8,) * 4,
            decoder_block_out_channels=(8,) * 4,
            layers_per_block=(1,) * 5,
            decoder_layers_per_block=(1,) * 5,
            spatio_temporal_scaling=(True, True, False, False),
            decoder_spatio_temporal_scaling=(True, True, False, False),
            decoder_inject_noise=(False,) * 5,
            upsample_residual=(False,) * 4,
            upsample_factor=(1,) * 4,
            timestep_conditioning=timestep_conditioning,
            patch_size=1,
            patch_size_t=1,
            encoder_causal=True,
            decoder_causal=False,
        )
    )
    vae.use_framewise_encoding = vae.use_framewise_decoding = False
    vae.latents_mean.copy_(noise(8, seed=3) * 0.3)
    vae.latents_std.copy_(noise(8, seed=4).abs() + 0.5)
    pipeline = diffusers.LTXImageToVideoPipeline(
        scheduler=ltx_scheduler(),
        vae=vae,
        text_encoder=None,
        tokenizer=None,
        transformer=transformer,
    )
    call = call_of(9, 3.0, max_sequence_length=16, **text(16, 32, mask=True))
    return Tiny(pipeline, call, Oracle("flow"))


def _motion(**components: Any) -> dict[str, Any]:
    unet = built(
        lambda: diffusers.UNet2DConditionModel(
            block_out_channels=(8, 8),
            layers_per_block=1,
            sample_size=16,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=8,
            attention_head_dim=4,
            norm_num_groups=2,
        )
    )
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="linear",
        timestep_spacing="linspace",
        clip_sample=False,
    )
    shared = {"vae": image_vae(), "text_encoder": None, "tokenizer": None, "unet": unet}
    return shared | {"scheduler": scheduler} | components


def _motion_adapter(**more: Any) -> Any:
    return built(
        lambda: diffusers.MotionAdapter(
            block_out_channels=(8, 8),
            motion_layers_per_block=1,
            motion_norm_num_groups=2,
            motion_num_attention_heads=4,
            **more,
        )
    )


def sparsectrl() -> Tiny:
    """AnimateDiff with SparseCtrl: epsilon, linear betas, conditioning through a control net."""
    control = built(
        lambda: diffusers.SparseControlNetModel(
            block_out_channels=(8, 8),
            layers_per_block=1,
            in_channels=4,
            conditioning_channels=4,
            down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
            cross_attention_dim=8,
            attention_head_dim=4,
            conditioning_embedding_out_channels=(8, 8),
            norm_num_groups=1,
            use_simplified_condition_embedding=True,
        )
    )
    with torch.no_grad():  # zero-initialised ends would hide the control net, and the picture
        ends = (*control.controlnet_down_blocks, control.controlnet_mid_block)
        for module in (*ends, control.controlnet_cond_embedding):
            module.weight.copy_(noise(*module.weight.shape) * 0.2)
    pipeline = diffusers.AnimateDiffSparseControlNetPipeline(
        **_motion(motion_adapter=_motion_adapter(), controlnet=control)
    )
    return Tiny(pipeline, call_of(4, 7.5, **text(7, 8)), Oracle("epsilon", answer="sample"))


def pia() -> Tiny:
    """PIA: epsilon, linear betas, nine input channels."""
    adapter = _motion_adapter(conv_in_channels=9)
    pipeline = diffusers.PIAPipeline(**_motion(motion_adapter=adapter))
    # It draws its start sample and then its condition from one generator, so ``latents=`` alone
    # changes its condition.
    oracle = Oracle("epsilon", (1, 4), answer="sample")
    return Tiny(pipeline, call_of(4, 7.5, motion_scale=0, **text(7, 8)), oracle, restarts=())


def animate_anything() -> Tiny:
    """AnimateAnything: epsilon, linspace, a first frame of its own, mask and motion."""
    from epa_core.models.animate_anything_checkpoint import load_animate_anything

    with tempfile.TemporaryDirectory() as folder:
        pipeline = load_animate_anything(write_released_checkpoint(Path(folder)))
    return Tiny(pipeline, call_of(4, 9.0, **text(77, WIDTH)), restarts=(0,), whole=True)


def consisti2v() -> Tiny:
    """ConsistI2V: epsilon, linear betas, frame 0 clean and never stepped."""
    import tiny_consisti2v as consisti2v

    from epa_core.models.consisti2v_checkpoint import load_consisti2v

    with tempfile.TemporaryDirectory() as folder:
        pipeline = load_consisti2v(consisti2v.write_released_checkpoint(Path(folder)))
    return Tiny(pipeline, call_of(4, 7.5, **text(77, WIDTH)), restarts=(0,), whole=True)


def cinemo() -> Tiny:
    """Cinemo: epsilon, motion residuals, a temporal decoder; what is stepped leaves out frame 0."""
    from tiny_cinemo import tiny_cinemo

    call = call_of(4, 7.5, **text(77, WIDTH))
    return Tiny(tiny_cinemo(), call, Oracle("epsilon", residual=True), restarts=(0,), whole=True)


def preview() -> Tiny:
    """The embedded model is small as it is."""
    from epa_core.models.preview import build_preview

    return Tiny(build_preview(), call_of(4, None))


BUILDERS: dict[str, Callable[[], Tiny]] = {
    "wan21": wan21,
    "wan22": wan22,
    "wan22_5b": wan22_5b,
    "cogvideox": cogvideox,
    "cogvideox15": cogvideox15,
    "ltx": ltx,
    "svd": svd,
    "i2vgenxl": i2vgenxl,
    "sparsectrl": sparsectrl,
    "pia": pia,
    "animate_anything": animate_anything,
    "consisti2v": consisti2v,
    "cinemo": cinemo,
    "preview": preview,
    **TRANSFORMERS,
    **INPAINTING,
}

#: Card -> the tiny pipeline that has the released configuration's shape.
TINY_OF_CARD = {
    "preview": "preview",
    "svd": "svd",
    "pia": "pia",
    "animate-anything": "animate_anything",
    "consisti2v": "consisti2v",
    "cinemo": "cinemo",
    "wan2.1-i2v-480p": "wan21",
    "wan2.1-i2v-720p": "wan22",  # the same shift
    "wan2.2-i2v-a14b": "wan22",
    "wan2.2-ti2v-5b": "wan22_5b",
    "skyreels-v2-i2v-720p": "skyreels_v2",
    "ltx-video": "ltx",
    "ltx-2": "ltx2",
    "cogvideox1.5-5b-i2v": "cogvideox15",
    "cogvideox-5b-i2v": "cogvideox",
    "hunyuanvideo-i2v": "hunyuan",
    "hunyuanvideo1.5-i2v-480p": "hunyuan15",
    "svd-xt": "svd",
    "i2vgen-xl": "i2vgenxl",
    "animatediff-sparsectrl": "sparsectrl",
    "sana-video-480p": "sana",
    "kandinsky5-i2v-pro": "kandinsky5",
    "kandinsky6-lite": "kandinsky6",
    "kandinsky6-pro": "kandinsky6",
    "motif-video-2b": "motif",
    "wan2.1-vace-1.3b": "wan_vace",
    "wan2.1-vace-14b": "wan_vace",
    "easyanimate5.1-12b-inp": "easyanimate",
}


def build(name: str) -> Tiny:
    """A fresh tiny pipeline, silent."""
    tiny = BUILDERS[name]()
    tiny.pipeline.set_progress_bar_config(disable=True)
    return tiny
