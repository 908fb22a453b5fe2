"""The preview model's autoencoder: pixels regrouped into patches, which decoding undoes exactly."""

from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin


@dataclass(frozen=True)
class PointDistribution:
    """A posterior without spread: its mode is its only sample."""

    latent: torch.Tensor

    def mode(self) -> torch.Tensor:
        """Return the latent [B, 3 p p, F, H/p, W/p]."""
        return self.latent

    def sample(self, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return the same latent; nothing is drawn from ``generator``."""
        return self.latent


@dataclass(frozen=True)
class EncodedPatches:
    """What ``PatchCodec.encode`` returns."""

    latent_dist: PointDistribution


@dataclass(frozen=True)
class DecodedPatches:
    """What ``PatchCodec.decode`` returns: ``sample`` [B, 3, F, H, W] in [-1, 1]."""

    sample: torch.Tensor


class PatchCodec(ModelMixin, ConfigMixin):
    """Regroup every p x p patch of a frame into 3 p p channels: a permutation, so no rounding."""

    @register_to_config
    def __init__(self, patch: int = 8, scaling_factor: float = 1.0):
        super().__init__()
        # A module without weights has no device or dtype; this one number carries them.
        self.register_buffer("placement", torch.zeros(1))

    def encode(self, pixels: torch.Tensor) -> EncodedPatches:
        """Turn pixels [B, 3, F, H, W] into latents [B, 3 p p, F, H/p, W/p].

        H and W must be multiples of p; ValueError otherwise.
        """
        batch, channels, frames, height, width = pixels.shape
        p = int(self.config["patch"])
        if height % p or width % p:
            raise ValueError(f"The size {width}x{height} is not a multiple of {p}.")
        cut = pixels.reshape(batch, channels, frames, height // p, p, width // p, p)
        latent = cut.permute(0, 1, 4, 6, 2, 3, 5).reshape(
            batch, channels * p * p, frames, height // p, width // p
        )
        return EncodedPatches(PointDistribution(latent))

    def decode(self, latent: torch.Tensor) -> DecodedPatches:
        """Turn latents back into the very pixels they came from."""
        batch, channels, frames, height, width = latent.shape
        p = int(self.config["patch"])
        cut = latent.reshape(batch, channels // (p * p), p, p, frames, height, width)
        pixels = cut.permute(0, 1, 4, 5, 2, 6, 3).reshape(
            batch, channels // (p * p), frames, height * p, width * p
        )
        return DecodedPatches(pixels)
