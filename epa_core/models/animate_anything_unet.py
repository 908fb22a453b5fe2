"""The denoiser of AnimateAnything: a text-to-video UNet told a first frame, a mask and a motion.

The network is diffusers' ``UNet3DConditionModel`` (the ModelScope architecture: spatial layers of
Stable Diffusion, each followed by convolution and attention over time) with three additions:

- the clean latent of the painting goes in front of the clip as one more frame, and the first
  frame that comes out is dropped;
- a mask (1 = may move) goes in front of the latent channels, read by ``conv_in2``;
- a motion strength enters the time embedding through the same sinusoids as the timestep.

    symbol   meaning                                         shape
    b, L     clips of a call; frames of a clip
    h, w     size of a latent frame
    C0       width of the first level
"""

from typing import Any

import torch
from diffusers import ModelMixin, UNet3DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.resnet import TemporalConvLayer
from diffusers.models.unets.unet_3d_condition import UNet3DConditionOutput
from torch import Tensor, nn

# ModelMixin is exported because diffusers looks for it here: by that name in this module it tells
# how a saved pipeline's denoiser is loaded.
__all__ = ["TEMPORAL_GROUPS", "MaskedMotionUNet3D", "ModelMixin"]

# The released layers over time have 32 groups whatever the configuration says; diffusers' follow
# ``norm_num_groups``.
TEMPORAL_GROUPS = 32


class MaskedMotionUNet3D(UNet3DConditionModel):
    """Noise prediction for a clip of latents, given a first frame, text, a mask and a motion.

    Keys and shapes of its weights are those of the released ``UNet3DConditionModel``.
    ``motion_mask`` and ``motion_strength`` say what the weights were trained with; the pipeline
    goes by them. ValueError for widths that are no multiples of 32.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int | tuple[int, int] | None = None,
        in_channels: int = 4,
        out_channels: int = 4,
        down_block_types: tuple[str, ...] = (
            "CrossAttnDownBlock3D",
            "CrossAttnDownBlock3D",
            "CrossAttnDownBlock3D",
            "DownBlock3D",
        ),
        up_block_types: tuple[str, ...] = (
            "UpBlock3D",
            "CrossAttnUpBlock3D",
            "CrossAttnUpBlock3D",
            "CrossAttnUpBlock3D",
        ),
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        downsample_padding: int = 1,
        mid_block_scale_factor: float = 1,
        act_fn: str = "silu",
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
        cross_attention_dim: int = 1024,
        attention_head_dim: int = 64,
        motion_mask: bool = False,
        motion_strength: bool = False,
        time_cond_proj_dim: int | None = None,
    ):
        width = block_out_channels[0]
        if time_cond_proj_dim not in (None, width):
            raise ValueError(f"time_cond_proj_dim is {time_cond_proj_dim}, not {width}.")
        super().__init__(
            sample_size=sample_size,
            in_channels=in_channels,
            out_channels=out_channels,
            down_block_types=down_block_types,
            up_block_types=up_block_types,
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            downsample_padding=downsample_padding,
            mid_block_scale_factor=mid_block_scale_factor,
            act_fn=act_fn,
            norm_num_groups=norm_num_groups,
            norm_eps=norm_eps,
            cross_attention_dim=cross_attention_dim,
            attention_head_dim=attention_head_dim,
            time_cond_proj_dim=width,
        )
        self.conv_in2 = nn.Conv2d(out_channels + 1, width, kernel_size=3, padding=1)
        # Released, never used; kept so that a checkpoint can be written back whole.
        self.motion_embedding = nn.Sequential(
            nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width)
        )
        for norm in self._temporal_norms():
            if norm.num_channels % TEMPORAL_GROUPS:
                raise ValueError(
                    f"block_out_channels are {tuple(block_out_channels)}; they must be multiples "
                    f"of {TEMPORAL_GROUPS}."
                )
            norm.num_groups = TEMPORAL_GROUPS

    def _temporal_norms(self) -> list[nn.GroupNorm]:
        layers = [layer for layer in self.modules() if isinstance(layer, TemporalConvLayer)]
        blocks = [conv for layer in layers for conv in (layer.conv1, layer.conv2)]
        blocks += [conv for layer in layers for conv in (layer.conv3, layer.conv4)]
        return [self.transformer_in.norm, *(block[0] for block in blocks)]

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        condition_latent: Tensor,
        mask: Tensor | None = None,
        motion: Tensor | float | None = None,
        return_dict: bool = True,
    ) -> UNet3DConditionOutput | tuple[Tensor]:
        """Return the predicted noise, shape and dtype of ``sample`` [b, 4, L, h, w].

        ``timestep`` and ``motion`` are one number or [b]; text [b, tokens, D]; the condition
        [b, 4, 1, h, w] is clean. ``mask`` [m, 1, 1, h, w] with b a multiple of m serves the clips
        in the order m0 m1 m0 m1. Without one, ``conv_in`` reads the latents, which is not the same
        as a mask of ones; without a motion its term is left out, which is not the same as 0.
        ValueError for a mask that does not fit, or none where the weights cannot do without.
        """
        batch, channels = sample.shape[:2]
        frames = sample.shape[2] + 1
        hidden = torch.cat([condition_latent, sample], dim=2)
        conv_in = self.conv_in
        if mask is not None:
            if batch % mask.shape[0]:
                raise ValueError(f"{mask.shape[0]} masks do not fit {batch} clips.")
            repeated = mask.repeat(batch // mask.shape[0], 1, frames, 1, 1)
            hidden = torch.cat([repeated.to(hidden.dtype), hidden], dim=1)
            conv_in = self.conv_in2
        elif conv_in.in_channels != channels:
            raise ValueError(
                f"conv_in reads {conv_in.in_channels} channels: these weights need a mask."
            )
        embedding = self._time(timestep, motion, sample).repeat_interleave(
            frames, dim=0, output_size=batch * frames
        )
        text = encoder_hidden_states.repeat_interleave(frames, dim=0, output_size=batch * frames)
        hidden = conv_in(hidden.transpose(1, 2).flatten(0, 1))
        hidden = self._through_blocks(hidden, embedding, text, frames)
        hidden = self.conv_out(self.conv_act(self.conv_norm_out(hidden)))
        output = hidden.unflatten(0, (batch, frames))[:, 1:].transpose(1, 2)
        return UNet3DConditionOutput(sample=output) if return_dict else (output,)

    def _time(
        self, timestep: Tensor | float, motion: Tensor | float | None, sample: Tensor
    ) -> Tensor:
        """Embedding [b, 4 C0] of the timestep and, if there is one, of the motion."""

        def features(value: Tensor | float) -> Tensor:
            numbers = torch.as_tensor(value, device=sample.device).reshape(-1)
            return self.time_proj(numbers.expand(sample.shape[0])).to(sample.dtype)

        condition = None if motion is None else features(motion)
        return self.time_embedding(features(timestep), condition)

    def _through_blocks(
        self, hidden: Tensor, embedding: Tensor, text: Tensor, frames: int
    ) -> Tensor:
        """All levels; frames are folded into the batch [(b frames), C0, h, w]."""
        shared: dict[str, Any] = {"temb": embedding, "num_frames": frames}
        cross = {**shared, "encoder_hidden_states": text}
        hidden = self.transformer_in(hidden, num_frames=frames, return_dict=False)[0]
        skipped: list[Tensor] = [hidden]
        for block in self.down_blocks:
            given = cross if getattr(block, "has_cross_attention", False) else shared
            hidden, outputs = block(hidden_states=hidden, **given)
            skipped.extend(outputs)
        hidden = self.mid_block(hidden, **cross)
        for block in self.up_blocks:
            given = cross if getattr(block, "has_cross_attention", False) else shared
            count = len(block.resnets)
            joined, skipped = skipped[-count:], skipped[:-count]
            # Up to the size that was halved on the way down, which need not be even.
            size = tuple(skipped[-1].shape[-2:]) if skipped else None
            hidden = block(
                hidden_states=hidden,
                res_hidden_states_tuple=tuple(joined),
                upsample_size=size,
                **given,
            )
        return hidden
