"""Tiny diffusion transformers of further families: LTX-2, HunyuanVideo, SkyReels, SANA ..."""

from collections.abc import Callable
from typing import Any

import diffusers
import torch
from diffusers.guiders import ClassifierFreeGuidance
from gaussian_oracle import Oracle
from tiny_parts import Tiny, built, call_of, clip_processor, clip_vision, noise, text
from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel


def ltx_scheduler() -> Any:
    """Dynamic shift with a terminal of 0.1, as in LTX-Video and LTX-2."""
    return diffusers.FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        base_shift=0.95,
        max_shift=2.05,
        base_image_seq_len=1024,
        max_image_seq_len=4096,
        shift_terminal=0.1,
    )


def wan_vae() -> Any:
    """Latents of 16 channels, with the released mean and deviation."""
    return built(
        lambda: diffusers.AutoencoderKLWan(
            base_dim=3,
            z_dim=16,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
        )
    )


def _ltx2_connectors(width: int) -> Any:
    from diffusers.pipelines.ltx2 import LTX2TextConnectors

    modes = {
        f"{mode}_connector_{name}": value
        for mode in ("video", "audio")
        for name, value in {
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "num_layers": 1,
            "num_learnable_registers": None,
        }.items()
    }
    return built(
        lambda: LTX2TextConnectors(
            caption_channels=width,
            text_proj_in_factor=3,
            connector_rope_base_seq_len=32,
            rope_theta=10000.0,
            rope_double_precision=False,
            causal_temporal_positioning=False,
            rope_type="split",
            **modes,
        )
    )


def _ltx2_vae() -> Any:
    vae = built(
        lambda: diffusers.AutoencoderKLLTX2Video(
            latent_channels=4,
            block_out_channels=(8,),
            decoder_block_out_channels=(8,),
            layers_per_block=(1,),
            decoder_layers_per_block=(1, 1),
            spatio_temporal_scaling=(True,),
            decoder_spatio_temporal_scaling=(True,),
            decoder_inject_noise=(False, False),
            downsample_type=("spatiotemporal",),
            upsample_residual=(False,),
            upsample_factor=(1,),
            timestep_conditioning=False,
            patch_size=1,
            patch_size_t=1,
            encoder_causal=True,
            decoder_causal=False,
        )
    )
    vae.use_framewise_encoding = vae.use_framewise_decoding = False
    vae.latents_mean.copy_(noise(4, seed=3) * 0.3)
    vae.latents_std.copy_(noise(4, seed=4).abs() + 0.5)
    return vae


def _ltx2_sound() -> dict[str, Any]:
    from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder

    vae = built(
        lambda: diffusers.AutoencoderKLLTX2Audio(
            base_channels=4,
            output_channels=2,
            ch_mult=(1,),
            num_res_blocks=1,
            attn_resolutions=None,
            in_channels=2,
            resolution=32,
            latent_channels=2,
            norm_type="pixel",
            causality_axis="height",
            mid_block_add_attention=False,
            sample_rate=16000,
            mel_hop_length=160,
            is_causal=True,
            mel_bins=8,
        )
    )
    vocoder = built(
        lambda: LTX2Vocoder(
            in_channels=16,
            hidden_channels=32,
            out_channels=2,
            upsample_kernel_sizes=[4, 4],
            upsample_factors=[2, 2],
            resnet_kernel_sizes=[3],
            resnet_dilations=[[1, 3, 5]],
            leaky_relu_negative_slope=0.1,
            output_sampling_rate=16000,
        )
    )
    return {"audio_vae": vae, "vocoder": vocoder}


def ltx2() -> Tiny:
    """LTX-2: sound beside the video, guidance in the space of clean latents, recompressed image."""
    width = 16
    transformer = built(
        lambda: diffusers.LTX2VideoTransformer3DModel(
            in_channels=4,
            out_channels=4,
            patch_size=1,
            patch_size_t=1,
            num_attention_heads=2,
            attention_head_dim=8,
            cross_attention_dim=16,
            audio_in_channels=4,
            audio_out_channels=4,
            audio_num_attention_heads=2,
            audio_attention_head_dim=4,
            audio_cross_attention_dim=8,
            num_layers=2,
            qk_norm="rms_norm_across_heads",
            caption_channels=width,
            rope_double_precision=False,
            rope_type="split",
        )
    )
    pipeline = diffusers.LTX2ImageToVideoPipeline(
        scheduler=ltx_scheduler(),
        vae=_ltx2_vae(),
        text_encoder=None,
        tokenizer=None,
        connectors=_ltx2_connectors(width),
        transformer=transformer,
        **_ltx2_sound(),
    )
    embeddings = text(16, width * 3, mask=True)
    masks = {name: mask.long() for name, mask in embeddings.items() if name.endswith("_mask")}
    options = {"frame_rate": 25.0, "spatio_temporal_guidance_blocks": [1], **embeddings, **masks}
    # The call takes latents without normalisation and gives them back so.
    oracle = Oracle("flow", answer="sound")
    return Tiny(pipeline, call_of(5, 3.0, **options), oracle, restarts=(0,), rounding=2e-4)


def _hunyuan_transformer(in_channels: int, kind: str | None, guidance: bool) -> Any:
    return built(
        lambda: diffusers.HunyuanVideoTransformer3DModel(
            in_channels=in_channels,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=10,
            num_layers=1,
            num_single_layers=1,
            num_refiner_layers=1,
            patch_size=1,
            patch_size_t=1,
            guidance_embeds=guidance,
            text_embed_dim=16,
            pooled_projection_dim=8,
            rope_axes_dim=(2, 4, 4),
            image_condition_type=kind,
        )
    )


def hunyuan_vae() -> Any:
    """Latents of 4 channels, by a scale alone."""
    return built(
        lambda: diffusers.AutoencoderKLHunyuanVideo(
            latent_channels=4,
            down_block_types=("HunyuanVideoDownBlock3D",) * 4,
            up_block_types=("HunyuanVideoUpBlock3D",) * 4,
            block_out_channels=(8,) * 4,
            layers_per_block=1,
            norm_num_groups=4,
            scaling_factor=0.476986,
        )
    )


def _hunyuan_text() -> dict[str, torch.Tensor]:
    ones = torch.ones(1, 16)
    return {
        **text(16, 16),
        "pooled_prompt_embeds": noise(1, 8),
        "negative_pooled_prompt_embeds": noise(1, 8, seed=1),
        "prompt_attention_mask": ones,
        "negative_prompt_attention_mask": ones,
    }


def _hunyuan(pipeline_class: Any, transformer: Any, **more: Any) -> Any:
    return pipeline_class(
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        transformer=transformer,
        vae=hunyuan_vae(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
        **more,
    )


def hunyuan() -> Tiny:
    """HunyuanVideo-I2V, the image latent as channels; it drops the first four frames."""
    pipeline = _hunyuan(
        diffusers.HunyuanVideoImageToVideoPipeline,
        _hunyuan_transformer(9, "latent_concat", guidance=False),
        image_processor=None,
    )
    call = call_of(9, 6.0, **_hunyuan_text())
    return Tiny(pipeline, call, Oracle("flow", (1, 4)), rounding=2e-5, dropped=4)


def hunyuan_token() -> Tiny:
    """HunyuanVideo-I2V, the image latent as frame 0; guidance as an embedding."""
    pipeline = _hunyuan(
        diffusers.HunyuanVideoImageToVideoPipeline,
        _hunyuan_transformer(4, "token_replace", guidance=True),
        image_processor=None,
    )
    call = call_of(9, 6.0, **_hunyuan_text())
    return Tiny(pipeline, call, Oracle("flow"), rounding=2e-5)


def hunyuan_skyreels() -> Tiny:
    """SkyReels-V1: the image latent as channels, padded with zeros."""
    pipeline = _hunyuan(
        diffusers.HunyuanSkyreelsImageToVideoPipeline,
        _hunyuan_transformer(8, None, guidance=True),
    )
    return Tiny(pipeline, call_of(9, 6.0, **_hunyuan_text()), Oracle("flow", (1, 4)))


def hunyuan15() -> Tiny:
    """HunyuanVideo 1.5: a guider, SigLIP tokens, sizes of a list; a picture of 16x16 stays so."""
    transformer = built(
        lambda: diffusers.HunyuanVideo15Transformer3DModel(
            in_channels=9,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=2,
            num_refiner_layers=1,
            mlp_ratio=2.0,
            patch_size=1,
            patch_size_t=1,
            text_embed_dim=16,
            text_embed_2_dim=32,
            image_embed_dim=12,
            rope_axes_dim=(2, 2, 4),
            target_size=16,
            task_type="i2v",
        )
    )
    vae = built(
        lambda: diffusers.AutoencoderKLHunyuanVideo15(
            latent_channels=4,
            block_out_channels=(16, 16),
            layers_per_block=1,
            spatial_compression_ratio=4,
            temporal_compression_ratio=2,
            downsample_match_channel=False,
            upsample_match_channel=False,
        )
    )
    encoder = SiglipVisionConfig(
        hidden_size=12,
        intermediate_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
    )
    pipeline = diffusers.HunyuanVideo15ImageToVideoPipeline(
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        transformer=transformer,
        vae=vae,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
        guider=ClassifierFreeGuidance(guidance_scale=6.0),
        image_encoder=built(lambda: SiglipVisionModel(encoder)),
        feature_extractor=SiglipImageProcessor(size={"height": 32, "width": 32}),
    )
    options: dict[str, Any] = {}
    for seed, (ending, width) in enumerate({"": 16, "_2": 32}.items()):
        for sign in ("", "negative_"):
            options[f"{sign}prompt_embeds{ending}"] = noise(1, 8, width, seed=seed + 5 * len(sign))
            options[f"{sign}prompt_embeds_mask{ending}"] = torch.ones(1, 8)
    return Tiny(pipeline, call_of(5, None, side=16, **options), Oracle("flow", (1, 4)))


def skyreels_v2() -> Tiny:
    """SkyReels-V2: Wan 2.1's layout, CLIP image tokens."""
    transformer = built(
        lambda: diffusers.SkyReelsV2Transformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=36,
            out_channels=16,
            text_dim=32,
            freq_dim=32,
            ffn_dim=32,
            num_layers=1,
            rope_max_seq_len=32,
            image_dim=4,
        )
    )
    pipeline = diffusers.SkyReelsV2ImageToVideoPipeline(
        tokenizer=None,
        text_encoder=None,
        image_encoder=clip_vision(4, 4, 2),
        image_processor=clip_processor(),
        transformer=transformer,
        vae=wan_vae(),
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0
        ),
    )
    call = call_of(9, 5.0, max_sequence_length=16, **text(16, 32))
    return Tiny(pipeline, call, Oracle("flow", (1, 16)), restarts=(0,))


def sana() -> Tiny:
    """SANA-Video: a clean first frame, a timestep per token, ``frames`` for their number."""
    transformer = built(
        lambda: diffusers.SanaVideoTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            num_layers=1,
            num_cross_attention_heads=2,
            cross_attention_head_dim=12,
            cross_attention_dim=24,
            caption_channels=8,
            mlp_ratio=2.5,
            qk_norm="rms_norm_across_heads",
            rope_max_seq_len=32,
        )
    )
    pipeline = diffusers.SanaImageToVideoPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=wan_vae(),
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=8.0),
    )
    options = {
        "use_resolution_binning": False,
        "negative_prompt": None,  # "" is its default, which excludes embeddings
        **text(16, 8, mask=True),
    }
    return Tiny(pipeline, call_of(9, 6.0, **options), Oracle("flow"))


def _opened(transformer: Any) -> None:
    """Random modulations: as they are initialised, no frame would see any other."""
    with torch.no_grad():
        for name, weight in transformer.named_parameters():
            if name.endswith("modulation.out_layer.weight"):
                weight.copy_(noise(*weight.shape) * 0.2)


def kandinsky5() -> Tiny:
    """Kandinsky 5: channels last, condition channels within ``latents=``."""
    transformer = built(
        lambda: diffusers.Kandinsky5Transformer3DModel(
            in_visual_dim=4,
            out_visual_dim=4,
            in_text_dim=16,
            in_text_dim2=8,
            time_dim=16,
            model_dim=16,
            ff_dim=32,
            num_text_blocks=1,
            num_visual_blocks=1,
            axes_dims=(2, 2, 4),
            visual_cond=True,
        )
    )
    _opened(transformer)
    pipeline = diffusers.Kandinsky5I2VPipeline(
        transformer=transformer,
        vae=hunyuan_vae(),
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=10.0),
    )
    options: dict[str, Any] = {}
    for seed, sign in enumerate(("", "negative_")):
        options[f"{sign}prompt_embeds_qwen"] = noise(1, 8, 16, seed=seed)
        options[f"{sign}prompt_embeds_clip"] = noise(1, 8, seed=seed)
        options[f"{sign}prompt_cu_seqlens"] = torch.tensor([0, 8], dtype=torch.int32)
    # It evens out its first frames at the end, so what it returns does not hold its condition.
    return Tiny(pipeline, call_of(21, 5.0, **options), Oracle("flow", (-1, 4), answer="sample"), ())


def kandinsky6() -> Tiny:
    """Kandinsky 6: channels last, sound beside the video, the painting as one frame more."""
    transformer = built(
        lambda: diffusers.Kandinsky6Transformer3DModel(
            in_visual_dim=4,
            out_visual_dim=4,
            in_text_dim=16,
            in_text_dim2=8,
            time_dim=16,
            model_dim=16,
            ff_dim=32,
            num_text_blocks=1,
            num_visual_blocks=1,
            axes_dims=(2, 2, 4),
            in_audio_dim=4,
            out_audio_dim=4,
            visual_token_type_num_embeddings=2,
        )
    )
    _opened(transformer)
    audio_vae = built(
        lambda: diffusers.MMAudioVAE(
            mel_bins=8,
            latent_channels=4,
            hidden_channels=8,
            channel_multipliers=(1, 2),
            layers_per_block=1,
            sample_rate=64,
            n_fft=16,
            hop_length=4,
        )
    )
    vocoder = built(
        lambda: diffusers.MMAudioVocoder(
            num_mels=8,
            upsample_initial_channel=8,
            upsample_rates=(2, 2),
            upsample_kernel_sizes=(4, 4),
            resblock_kernel_sizes=(3,),
            resblock_dilation_sizes=((1, 3),),
        )
    )
    pipeline = diffusers.Kandinsky6TI2VAPipeline(
        transformer=transformer,
        vae=hunyuan_vae(),
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=5.0),
        audio_vae=audio_vae,
        vocoder=vocoder,
    )
    options = {
        **text(8, 16),
        "pooled_prompt_embeds": noise(1, 8),
        "negative_pooled_prompt_embeds": noise(1, 8, seed=1),
    }
    # It draws its sound after its start sample, from one generator, as PIA its condition.
    oracle = Oracle("flow", (-1, 4), answer="sound")
    return Tiny(pipeline, call_of(9, 5.0, **options), oracle, restarts=())


def motif() -> Tiny:
    """Motif-Video: image latent and mask as channels, a guider."""
    transformer = built(
        lambda: diffusers.MotifVideoTransformer3DModel(
            in_channels=33,
            out_channels=16,
            num_attention_heads=2,
            attention_head_dim=12,
            num_layers=1,
            num_single_layers=1,
            text_embed_dim=16,
            rope_axes_dim=(4, 4, 4),
        )
    )
    pipeline = diffusers.MotifVideoImage2VideoPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=15.0),
        vae=wan_vae(),
        text_encoder=None,
        tokenizer=None,
        transformer=transformer,
        guider=ClassifierFreeGuidance(guidance_scale=8.0),
        feature_extractor=None,
    )
    # It samples its condition after its start sample, from one generator, as PIA does.
    call = call_of(9, None, prompt=None, **text(16, 16, mask=True))
    return Tiny(pipeline, call, Oracle("flow", (1, 16)), restarts=())


BUILDERS: dict[str, Callable[[], Tiny]] = {
    "ltx2": ltx2,
    "hunyuan": hunyuan,
    "hunyuan_token": hunyuan_token,
    "hunyuan15": hunyuan15,
    "hunyuan_skyreels": hunyuan_skyreels,
    "skyreels_v2": skyreels_v2,
    "sana": sana,
    "kandinsky5": kandinsky5,
    "kandinsky6": kandinsky6,
    "motif": motif,
}
