"""The denoiser of Cinemo: Stable Diffusion's UNet on whole clips, for motion residuals.

The network is diffusers' ``UNet2DConditionModel``, frames folded into the batch, with four changes:

- the clean latent of the painting is added to each frame and goes in front as one more frame,
  whose output is dropped;
- group norms of the residual blocks pool over all frames of a clip, not within each;
- every transformer block attends over time between text attention and feed-forward;
- the number of a motion bucket enters the time embedding.

    symbol   meaning                                         shape
    b, L     clips of a call; frames of a clip, without the painting
    h, w     size of a latent frame
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import (
    TimestepEmbedding,
    Timesteps,
    apply_rotary_emb,
    get_1d_rotary_pos_embed,
)
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor, nn
from torch.nn import functional

# ModelMixin is exported because diffusers looks for it here: by that name in this module it tells
# how a saved pipeline's denoiser is loaded.
__all__ = ["ClipGroupNorm", "ModelMixin", "MotionResidualUNet", "TemporalAttention"]

ROTATED = 32  # of each head's dimensions; the rest keeps its place
BUCKETS, FARTHEST = 32, 32  # of the relative positions: as in T5, in both directions


@dataclass
class _Clip:
    """Frames of the clips in the call, for the layers inside, which see one batch of frames."""

    frames: int = 1


class ClipGroupNorm(nn.GroupNorm):
    """Group norm of frames folded into the batch [(b F), C, h, w], over all frames of a clip."""

    def __init__(self, like: nn.GroupNorm, clip: _Clip):
        super().__init__(like.num_groups, like.num_channels, like.eps)
        self.clip = clip

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised frames, shaped as ``input``."""
        clips = input.unflatten(0, (-1, self.clip.frames)).transpose(1, 2)
        return super().forward(clips).transpose(1, 2).flatten(0, 1)


class _RelativeBias(nn.Module):
    """What attention adds for the distance of two frames, per head."""

    def __init__(self, heads: int):
        super().__init__()
        self.relative_attention_bias = nn.Embedding(BUCKETS, heads)

    def forward(self, frames: int) -> Tensor:
        """Bias [heads, query, key] of ``frames`` frames."""
        weight = self.relative_attention_bias.weight
        buckets = relative_buckets(frames).to(weight.device)
        return self.relative_attention_bias(buckets).permute(2, 0, 1)


def relative_buckets(frames: int) -> Tensor:
    """Buckets [query, key] of pairs of frames: near distances exact, far ones by logarithm."""
    position = torch.arange(frames)
    distance = position[:, None] - position[None, :]
    half, exact = BUCKETS // 2, BUCKETS // 4
    offset = (distance < 0).long() * half
    distance = distance.abs()
    ratio = distance.clamp_min(1).float().div(exact).log() / math.log(FARTHEST / exact)
    far = exact + (ratio * (half - exact)).long()
    return offset + torch.where(distance < exact, distance, far.clamp_max(half - 1))


class TemporalAttention(Attention):
    """Attention of each pixel over the frames of its clip, told their order and distance."""

    def __init__(self, dim: int, heads: int, dim_head: int):
        super().__init__(query_dim=dim, heads=heads, dim_head=dim_head)
        self.time_rel_pos_bias = _RelativeBias(heads)

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return what each frame takes from the others, [pixels, F, C] as ``hidden_states``."""
        frames = hidden_states.shape[1]
        split = (
            layer(hidden_states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.to_q, self.to_k, self.to_v)
        )
        query, key, value = split
        angles = get_1d_rotary_pos_embed(ROTATED, frames, use_real=True)
        query, key = rotated(query, angles), rotated(key, angles)
        bias = self.time_rel_pos_bias(frames)[None].to(query.dtype)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.to_out[1](self.to_out[0](attended.transpose(1, 2).flatten(2)))


def rotated(heads: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """``heads`` [.., .., F, D] turned by each frame's ``angles``, in float32: pairs (2i, 2i+1)."""
    cos, sin = (table.to(heads.device) for table in angles)
    turned = apply_rotary_emb(heads[..., :ROTATED], (cos, sin))
    return torch.cat([turned, heads[..., ROTATED:]], dim=-1)


class _MotionBlock(BasicTransformerBlock):
    """A transformer block: space, text, time, feed-forward."""

    def __init__(self, dim: int, heads: int, dim_head: int, text: int, clip: _Clip):
        super().__init__(dim, heads, dim_head, cross_attention_dim=text)
        self.norm_temp = nn.LayerNorm(dim)
        self.attn_temp = TemporalAttention(dim, heads, dim_head)
        self.clip = clip

    def forward(
        self, hidden_states: Tensor, *_: Any, encoder_hidden_states: Tensor, **__: Any
    ) -> Tensor:
        """Return the next hidden states, [(b F), pixels, C] as ``hidden_states``."""
        hidden = hidden_states
        hidden = hidden + self.attn1(self.norm1(hidden))
        hidden = hidden + self.attn2(self.norm2(hidden), encoder_hidden_states)
        hidden = hidden + self._over_time(self.norm_temp(hidden))
        return hidden + self.ff(self.norm3(hidden))

    def _over_time(self, hidden: Tensor) -> Tensor:
        clips = hidden.unflatten(0, (-1, self.clip.frames))
        batch, _, pixels, _ = clips.shape
        attended = self.attn_temp(clips.transpose(1, 2).flatten(0, 1))
        return attended.unflatten(0, (batch, pixels)).transpose(1, 2).flatten(0, 1)


class MotionResidualUNet(UNet2DConditionModel):
    """Noise of a clip's motion residuals, given the painting's latent, text and a motion bucket.

    Keys and shapes of its weights are those of the released ``UNet3DConditionModel``, but for the
    table ``rotary_emb.freqs``, which follows from the dimensions.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int | None = 64,
        in_channels: int = 4,
        out_channels: int = 4,
        center_input_sample: bool = False,
        flip_sin_to_cos: bool = True,
        freq_shift: int = 0,
        down_block_types: tuple[str, ...] = (*("CrossAttnDownBlock3D",) * 3, "DownBlock3D"),
        mid_block_type: str = "UNetMidBlock3DCrossAttn",
        up_block_types: tuple[str, ...] = ("UpBlock3D", *("CrossAttnUpBlock3D",) * 3),
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        downsample_padding: int = 1,
        mid_block_scale_factor: float = 1,
        act_fn: str = "silu",
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
        cross_attention_dim: int = 768,
        attention_head_dim: int = 8,
        addition_embed_type: str = "motion_ids",
        addition_time_embed_dim: int = 256,
    ):
        if addition_embed_type != "motion_ids":
            raise ValueError(f"addition_embed_type is {addition_embed_type!r}, not 'motion_ids'.")
        names = (tuple(down_block_types), mid_block_type, tuple(up_block_types))
        super().__init__(
            sample_size=sample_size,
            in_channels=in_channels,
            out_channels=out_channels,
            center_input_sample=center_input_sample,
            flip_sin_to_cos=flip_sin_to_cos,
            freq_shift=freq_shift,
            down_block_types=tuple(name.replace("3D", "2D") for name in names[0]),
            mid_block_type=mid_block_type.replace("3D", "2D"),
            up_block_types=tuple(name.replace("3D", "2D") for name in names[2]),
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            downsample_padding=downsample_padding,
            mid_block_scale_factor=mid_block_scale_factor,
            act_fn=act_fn,
            norm_num_groups=norm_num_groups,
            norm_eps=norm_eps,
            cross_attention_dim=cross_attention_dim,
            attention_head_dim=attention_head_dim,
        )
        # What was given, not how the stock network calls it.
        self.register_to_config(
            down_block_types=names[0],
            mid_block_type=names[1],
            up_block_types=names[2],
            addition_embed_type=addition_embed_type,
            addition_time_embed_dim=addition_time_embed_dim,
        )
        self.clip = _Clip()
        self.add_time_proj = Timesteps(addition_time_embed_dim, flip_sin_to_cos, freq_shift)
        self.add_embedding = TimestepEmbedding(addition_time_embed_dim, 4 * block_out_channels[0])
        for module in list(self.modules()):
            if isinstance(module, ResnetBlock2D):
                module.norm1 = ClipGroupNorm(module.norm1, self.clip)
                module.norm2 = ClipGroupNorm(module.norm2, self.clip)
            elif isinstance(module, Transformer2DModel):
                blocks = [self._motion_block(block) for block in module.transformer_blocks]
                module.transformer_blocks = nn.ModuleList(blocks)
        norm: nn.GroupNorm = self.get_submodule("conv_norm_out")
        self.conv_norm_out = ClipGroupNorm(norm, self.clip)

    def _motion_block(self, block: BasicTransformerBlock) -> _MotionBlock:
        return _MotionBlock(
            block.dim,
            block.num_attention_heads,
            block.attention_head_dim,
            block.cross_attention_dim,
            self.clip,
        )

    def get_class_embed(self, sample: Tensor, class_labels: Tensor | None) -> Tensor | None:
        """Embedding of the motion bucket, where the stock network adds that of a class."""
        if class_labels is None:
            raise ValueError("the number of a motion bucket is missing.")
        return self.add_embedding(self.add_time_proj(class_labels).to(sample.dtype))

    def get_aug_embed(self, *_: Any, **__: Any) -> None:
        """Nothing further is embedded."""

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        base_content: Tensor,
        motion: Tensor | float,
        return_dict: bool = True,
    ) -> UNet2DConditionOutput | tuple[Tensor]:
        """Return the predicted noise, shape and dtype of ``sample`` [b, 4, L, h, w].

        ``sample`` is the noised residual; ``base_content`` [b, 4, 1, h, w] is clean and is added to
        it here. ``timestep`` and ``motion`` (the bucket) are one number or [b]; text [b, tokens,
        D].
        """
        batch, frames = sample.shape[0], sample.shape[2] + 1
        self.clip.frames = frames
        clips = torch.cat([base_content, base_content + sample], dim=2)

        def per_frame(value: Tensor | float) -> Tensor:
            numbers = torch.as_tensor(value, device=sample.device)
            if numbers.ndim < 2:
                numbers = numbers.reshape(-1).expand(batch)
            return numbers.repeat_interleave(frames, dim=0, output_size=batch * frames)

        output = super().forward(
            clips.transpose(1, 2).flatten(0, 1),
            per_frame(timestep),
            per_frame(encoder_hidden_states),
            class_labels=per_frame(motion),
            return_dict=False,
        )[0]
        output = output.unflatten(0, (batch, frames))[:, 1:].transpose(1, 2)
        return UNet2DConditionOutput(sample=output) if return_dict else (output,)
