"""What ConsistI2V adds to a Stable Diffusion UNet: layers over time, and sight of the first frame.

symbol   meaning                                         shape
b, F     clips of a call; frames of a clip, the painting's included
h, w     size of a latent frame; n = h w places
C        width of a level
"""

from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn
from torch.nn import functional

# The released convolutions over time have these whatever the configuration says.
TEMPORAL_GROUPS = 32
_TEMPORAL_EPS = 1e-6

_THETA = 10000.0
MOST_SEQUENCES = 65535  # that fused attention on a GPU takes at once


class FirstFrameProcessor:
    """Self-attention within a frame that also sees the tokens of its clip's first frame.

    The first frame sees its own twice.
    """

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        frames: int,
    ) -> Tensor:
        """Return [(b F), n, C] for ``hidden_states`` of that shape."""
        keys, values = (
            with_first_frame(project(hidden_states), frames) for project in (attn.to_k, attn.to_v)
        )
        return attn.to_out[0](attend(attn.to_q(hidden_states), keys, values, attn.heads))


def with_first_frame(tokens: Tensor, frames: int) -> Tensor:
    """Tokens [(b F), n, C] of each frame, followed by those of its clip's first: [(b F), 2n, C]."""
    clips = tokens.unflatten(0, (-1, frames))
    return torch.cat([clips, clips[:, :1].expand_as(clips)], dim=2).flatten(0, 1)


class TextProcessor(AttnProcessor2_0):
    """Stock attention to text, which has no use for the number of frames."""

    def __call__(self, attn: Attention, *given: Any, frames: int, **named: Any) -> Tensor:
        """As the stock processor."""
        return super().__call__(attn, *given, **named)


class TemporalConv(nn.Module):
    """Residual convolutions over time: ``x + (1 - alpha) conv(conv(x))``, frames in the batch."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(TEMPORAL_GROUPS, width, eps=_TEMPORAL_EPS)
        self.conv1 = nn.Conv3d(width, width, (3, 1, 1), padding=(1, 0, 0))
        self.norm2 = nn.GroupNorm(TEMPORAL_GROUPS, width, eps=_TEMPORAL_EPS)
        self.conv2 = nn.Conv3d(width, width, (3, 1, 1), padding=(1, 0, 0))
        self.alpha = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """[(b F), C, h, w], normalised frame by frame, convolved along the clips."""
        change = x
        for norm, conv in ((self.norm1, self.conv1), (self.norm2, self.conv2)):
            change = functional.silu(norm(change))
            clips = change.unflatten(0, (-1, frames)).transpose(1, 2)
            change = conv(clips).transpose(1, 2).flatten(0, 1)
        return x + weight_of(self.alpha) * change


class TemporalTransformer(nn.Module):
    """A transformer over the frames of each place, blended in: ``x + (1 - alpha) change``."""

    def __init__(self, width: int, *, heads: int, text_width: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.proj_in = nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList(
            [BasicTransformerBlock(width, heads, width // heads, cross_attention_dim=text_width)]
        )
        self.proj_out = nn.Linear(width, width)
        self.alpha = nn.Parameter(torch.ones(1))

    def forward(self, hidden: Tensor, text: Tensor, frames: int) -> Tensor:
        """[(b F), C, h, w], with text [b, tokens, D] that is the same in all frames."""
        size = hidden.shape[-2:]
        x = self.proj_in(self.norm(hidden).flatten(2).transpose(1, 2))
        x = x.unflatten(0, (-1, frames))  # b F n C
        block = self.transformer_blocks[0]
        x = x + over_frames(block.attn1, block.norm1(x), neighbours(size[0], size[1], x.device))
        x = x + to_text(block.attn2, block.norm2(x), text)
        x = x + block.ff(block.norm3(x))
        change = self.proj_out(x).flatten(0, 1).transpose(1, 2).unflatten(2, tuple(size))
        return hidden + weight_of(self.alpha) * change


def weight_of(alpha: Tensor) -> Tensor:
    """Share of a layer over time; training leaves alphas a little outside [0, 1]."""
    return 1 - alpha.clamp(0, 1)


def over_frames(attn: Attention, x: Tensor, around: Tensor) -> Tensor:
    """Attention of each place over the frames, and to the places around it in the first one.

    x is [b, F, n, C], ``around`` [n, 8] the places around each. Those are at the first frame's
    position, 0, where nothing is turned.
    """
    query, key, value = attn.to_q(x), attn.to_k(x), attn.to_v(x)
    keys = torch.cat([turned(key).transpose(1, 2), key[:, 0][:, around]], dim=2)
    values = torch.cat([value.transpose(1, 2), value[:, 0][:, around]], dim=2)
    queries = turned(query).transpose(1, 2).flatten(0, 1)
    found = attend(queries, keys.flatten(0, 1), values.flatten(0, 1), attn.heads)
    return attn.to_out[0](found).unflatten(0, (len(x), -1)).transpose(1, 2)


def to_text(attn: Attention, x: Tensor, text: Tensor) -> Tensor:
    """Attention of x [b, F, n, C] to its clip's text: queries are turned, keys are not."""
    queries = turned(attn.to_q(x)).flatten(1, 2)
    found = attend(queries, attn.to_k(text), attn.to_v(text), attn.heads)
    return attn.to_out[0](found).unflatten(1, x.shape[1:3])


def neighbours(height: int, width: int, device: torch.device) -> Tensor:
    """The eight places around each of h w places [n, 8]; beyond the border, those on it."""
    rows, columns = (torch.arange(length, device=device) for length in (height, width))
    places = [
        (rows + down).clamp(0, height - 1)[:, None] * width + (columns + right).clamp(0, width - 1)
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
        if (down, right) != (0, 0)
    ]
    return torch.stack([place.flatten() for place in places], dim=1)


def frequencies(width: int) -> Tensor:
    """The width / 4 angles per frame by which pairs of channels turn, in radians, float32."""
    half = width // 2
    return 1.0 / _THETA ** (torch.arange(0, half, 2).float() / half)


def turned(x: Tensor) -> Tensor:
    """x [b, F, n, C] with rotary positions 0 .. F-1 in the first half of its channels.

    As released, before heads are split: heads of the other half know no position. Channels 2j and
    2j + 1 make a pair. Angles are float32 whatever x is.
    """
    positions = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
    angles = torch.outer(positions, frequencies(x.shape[-1]).to(x.device))[:, None]
    cosine, sine = angles.cos(), angles.sin()
    half = x.shape[-1] // 2
    one, other = x[..., :half].float().unflatten(-1, (-1, 2)).unbind(-1)
    pairs = torch.stack([one * cosine - other * sine, other * cosine + one * sine], dim=-1)
    return torch.cat([pairs.flatten(-2).to(x.dtype), x[..., half:]], dim=-1)


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Attention of ``heads`` heads; query [s, q, C], key and value [s, k, C], answer [s, q, C]."""
    if len(query) > MOST_SEQUENCES:
        parts = zip(*(x.split(MOST_SEQUENCES) for x in (query, key, value)), strict=True)
        return torch.cat([attend(q, k, v, heads) for q, k, v in parts])
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
