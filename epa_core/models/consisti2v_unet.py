"""The denoiser of ConsistI2V: Stable Diffusion 2.1's UNet with layers over time and a first frame.

The spatial network is diffusers' ``UNet2DConditionModel``, with the same keys. What differs:

- the clean latent of the painting goes in front of the clip; the first frame out is dropped;
- spatial self-attention sees, beside a frame's own tokens, those of the first frame;
- ``conv3ds``, convolutions over time, follow every residual block;
- ``tempo_attns``, transformers over time, follow the spatial ones (but not in the middle): each
  place sees itself in all frames and, in the first frame, the eight places around it;
- the frame stride enters the time embedding through the same sinusoids as the timestep.

    symbol   meaning                                         shape
    b, F     clips of a call; frames of a clip, the painting's included
    h, w     size of a latent frame; n = h w places
    C        width of a level
"""

from typing import Any

import torch
from diffusers import ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.unets.unet_3d_condition import UNet3DConditionOutput
from torch import Tensor, nn

from epa_core.models.consisti2v_layers import (
    TEMPORAL_GROUPS,
    FirstFrameProcessor,
    TemporalConv,
    TemporalTransformer,
    TextProcessor,
)

# ModelMixin is exported because diffusers looks for it here: by that name in this module it tells
# how a saved pipeline's denoiser is loaded.
__all__ = ["ConsistI2VUNet", "ModelMixin"]

# The released switches, and the one setting of each that this network knows.
_RELEASED = {
    "use_temporal": True,
    "first_frame_condition_mode": "concat",
    "augment_temporal_attention": True,
    "temp_pos_embedding": "rotary",
    "use_frame_stride_condition": True,
}


class ConsistI2VUNet(UNet2DConditionModel):
    """Noise prediction for a clip of latents, given its first frame, text and a frame stride.

    Keys and shapes of its weights are those of the released ``VideoLDMUNet3DConditionModel``,
    without the dead ones. ``n_frames`` is what the weights were trained with; a call may have
    another number. ValueError for widths that are no multiples of 32, or another kind of network.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int | None = None,
        in_channels: int = 4,
        out_channels: int = 4,
        flip_sin_to_cos: bool = True,
        freq_shift: int = 0,
        down_block_types: tuple[str, ...] = (
            "CrossAttnDownBlock2D",
            "CrossAttnDownBlock2D",
            "CrossAttnDownBlock2D",
            "DownBlock2D",
        ),
        up_block_types: tuple[str, ...] = (
            "UpBlock2D",
            "CrossAttnUpBlock2D",
            "CrossAttnUpBlock2D",
            "CrossAttnUpBlock2D",
        ),
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        downsample_padding: int = 1,
        act_fn: str = "silu",
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
        cross_attention_dim: int = 1024,
        attention_head_dim: int | tuple[int, ...] = (5, 10, 20, 20),  # numbers of heads
        use_linear_projection: bool = True,
        upcast_attention: bool = False,
        n_frames: int = 16,
        n_temp_heads: int = 8,
        use_temporal: bool = True,
        first_frame_condition_mode: str = "concat",
        augment_temporal_attention: bool = True,
        temp_pos_embedding: str = "rotary",
        use_frame_stride_condition: bool = True,
    ):
        for name, known in _RELEASED.items():
            if (found := self.config[name]) != known:
                raise ValueError(f"{name} is {found!r}; this network knows {known!r} only.")
        for width in block_out_channels:
            if width % TEMPORAL_GROUPS:
                raise ValueError(
                    f"block_out_channels are {tuple(block_out_channels)}; they must be multiples "
                    f"of {TEMPORAL_GROUPS}."
                )
        super().__init__(
            sample_size=sample_size,
            in_channels=in_channels,
            out_channels=out_channels,
            flip_sin_to_cos=flip_sin_to_cos,
            freq_shift=freq_shift,
            down_block_types=down_block_types,
            up_block_types=up_block_types,
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            downsample_padding=downsample_padding,
            act_fn=act_fn,
            norm_num_groups=norm_num_groups,
            norm_eps=norm_eps,
            cross_attention_dim=cross_attention_dim,
            attention_head_dim=attention_head_dim,
            use_linear_projection=use_linear_projection,
            upcast_attention=upcast_attention,
        )
        width = block_out_channels[0]
        self.frame_stride_embedding = TimestepEmbedding(width, 4 * width, act_fn=act_fn)
        over_time = {
            "heads": n_temp_heads,
            "text_width": cross_attention_dim,
            "groups": norm_num_groups,
        }
        stock: dict[str, Any] = dict(self.named_children())
        self.down_blocks = nn.ModuleList(_Down(block, over_time) for block in stock["down_blocks"])
        self.mid_block = _Middle(stock["mid_block"])
        self.up_blocks = nn.ModuleList(_Up(block, over_time) for block in stock["up_blocks"])

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        first_frame_latents: Tensor,
        frame_stride: Tensor | float,
        return_dict: bool = True,
    ) -> UNet3DConditionOutput | tuple[Tensor]:
        """Return the predicted noise, shape and dtype of ``sample`` [b, 4, F - 1, h, w].

        ``timestep`` and ``frame_stride`` are one number or [b]; text [b, tokens, D]; the first
        frame [b, 4, 1, h, w] is clean, and gets the same timestep as the others.
        """
        batch, frames = sample.shape[0], sample.shape[2] + 1
        hidden = torch.cat([first_frame_latents, sample], dim=2)

        def features(value: Tensor | float) -> Tensor:
            numbers = torch.as_tensor(value, device=sample.device).reshape(-1)
            return self.time_proj(numbers.expand(batch)).to(sample.dtype)

        embedding = self.time_embedding(features(timestep))
        embedding = embedding + self.frame_stride_embedding(features(frame_stride))
        embedding = embedding.repeat_interleave(frames, dim=0, output_size=batch * frames)
        hidden = self.conv_in(hidden.transpose(1, 2).flatten(0, 1))
        skipped = [hidden]
        for block in self.down_blocks:
            hidden, outputs = block(hidden, embedding, encoder_hidden_states, frames)
            skipped.extend(outputs)
        hidden = self.mid_block(hidden, embedding, encoder_hidden_states, frames)
        for block in self.up_blocks:
            count = len(block.resnets)
            joined, skipped = skipped[-count:], skipped[:-count]
            # Up to the size that was halved on the way down, which need not be even.
            size = tuple(skipped[-1].shape[-2:]) if skipped else None
            hidden = block(hidden, joined, embedding, encoder_hidden_states, frames, size)
        hidden = self.conv_out(self.conv_act(self.conv_norm_out(hidden)))
        output = hidden.unflatten(0, (batch, frames))[:, 1:].transpose(1, 2)
        return UNet3DConditionOutput(sample=output) if return_dict else (output,)


class _Level(nn.Module):
    """The layers of a stock block, each followed by its layer over time."""

    def __init__(self, block: Any, over_time: dict[str, Any] | None):
        super().__init__()
        self.resnets = block.resnets
        self.attentions = getattr(block, "attentions", None)
        for attention in self.attentions or ():
            for layer in attention.transformer_blocks:
                layer.attn1.set_processor(FirstFrameProcessor())
                layer.attn2.set_processor(TextProcessor())
        widths = [resnet.out_channels for resnet in self.resnets]
        self.conv3ds = nn.ModuleList(TemporalConv(width) for width in widths)
        self.tempo_attns = None
        if self.attentions is not None and over_time is not None:
            self.tempo_attns = nn.ModuleList(
                TemporalTransformer(width, **over_time) for width in widths
            )

    def layer(
        self, index: int, hidden: Tensor, embedding: Tensor, text: Tensor, frames: int
    ) -> Any:
        """One residual block and all that follows it; frames folded into the batch."""
        hidden = self.resnets[index](hidden, embedding)
        hidden = self.conv3ds[index](hidden, frames)
        if self.attentions is None or index >= len(self.attentions):
            return hidden
        hidden = self.attentions[index](
            hidden,
            encoder_hidden_states=text.repeat_interleave(
                frames, dim=0, output_size=len(text) * frames
            ),
            cross_attention_kwargs={"frames": frames},
            return_dict=False,
        )[0]
        return hidden if self.tempo_attns is None else self.tempo_attns[index](hidden, text, frames)


class _Down(_Level):
    def __init__(self, block: Any, over_time: dict[str, Any]):
        super().__init__(block, over_time)
        self.downsamplers = block.downsamplers

    def forward(
        self, hidden: Tensor, embedding: Tensor, text: Tensor, frames: int
    ) -> tuple[Tensor, list[Tensor]]:
        outputs = []
        for index in range(len(self.resnets)):
            hidden = self.layer(index, hidden, embedding, text, frames)
            outputs.append(hidden)
        for downsampler in self.downsamplers or ():
            hidden = downsampler(hidden)
            outputs.append(hidden)
        return hidden, outputs


class _Middle(_Level):
    def __init__(self, block: Any):
        super().__init__(block, None)

    def forward(self, hidden: Tensor, embedding: Tensor, text: Tensor, frames: int) -> Tensor:
        for index in range(len(self.resnets)):  # the last one has no attention behind it
            hidden = self.layer(index, hidden, embedding, text, frames)
        return hidden


class _Up(_Level):
    def __init__(self, block: Any, over_time: dict[str, Any]):
        super().__init__(block, over_time)
        self.upsamplers = block.upsamplers

    def forward(
        self,
        hidden: Tensor,
        skipped: list[Tensor],
        embedding: Tensor,
        text: Tensor,
        frames: int,
        size: tuple[int, ...] | None,
    ) -> Tensor:
        for index, skip in enumerate(reversed(skipped)):
            joined = torch.cat([hidden, skip], dim=1)
            hidden = self.layer(index, joined, embedding, text, frames)
        for upsampler in self.upsamplers or ():
            hidden = upsampler(hidden, size)
        return hidden
