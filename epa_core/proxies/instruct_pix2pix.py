"""InstructPix2Pix as proxy maker: edits the painting as an instruction says.

It was trained on instructions ("make the boats sail away"); a caption works less well, so a
catalog that uses it had better have a ``proxy_prompt`` column.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from epa_core import weights
from epa_core.proxies.neural import Array, NeuralProxy


class InstructPix2PixProxy(NeuralProxy):
    """Redraws paintings with StableDiffusionInstructPix2PixPipeline.

    The painting's latents are the mode of the posterior; all draws are the sampler's noise.
    """

    def __init__(self, pipeline: Any, settings: Mapping[str, Any]):
        super().__init__(pipeline, pipeline.tokenizer, settings)

    def _sample(
        self, images: list[Image.Image], prompts: list[str], generators: list[torch.Generator]
    ) -> Array:
        pictures = self._call(prompts, image=images, generator=generators, output_type="np")
        return np.asarray(pictures, dtype=np.float32)


def load_instruct_pix2pix(
    card: weights.Card,
    where: Path | str,
    revision: str | None,
    dtype: str,
    device: str,
    settings: Mapping[str, Any],
) -> InstructPix2PixProxy:
    """Return the maker on ``device``; ``where`` is a folder or a hub id, ``settings`` are whole.

    UnsupportedError for weights that cannot be had.
    """
    # The checkpoint's safety checker paints black over what it takes for nudity, without an error;
    # in a museum that is many a painting. What is drawn from is the user's own catalog.
    pipeline = weights.from_pretrained(
        "proxy",
        card,
        where,
        revision,
        dtype,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return InstructPix2PixProxy(weights.moved(pipeline, device), settings)
