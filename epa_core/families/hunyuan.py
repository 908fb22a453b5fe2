"""HunyuanVideo image-to-video (two kinds of condition), SkyReels' form of it, and 1.5."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from epa_core.errors import UnsupportedError
from epa_core.families.base import CallSettings, Family
from epa_core.families.first_frame import CleanFirstFrame
from epa_core.families.stock import NEGATIVE_PROMPT
from epa_core.media.images import fit

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

# What the pipeline keeps of `latents=`; the rest it takes from the painting's latent.
_KEPT = 0.999


class TrueGuidance(Family):
    """Guidance by a second evaluation, which happens with a negative prompt only."""

    per_painting = NEGATIVE_PROMPT
    guidance_argument = "true_cfg_scale"

    def arguments(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        call: CallSettings,
        extras: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """With an empty negative prompt where guidance is asked for and there is none.

        One for each painting: the call would not repeat it.
        """
        given = super().arguments(images, prompts, call, extras)
        asked = (given.get("true_cfg_scale") or 1) > 1
        if asked and given.get("negative_prompt_embeds") is None:
            given.setdefault("negative_prompt", "")
        if len(images) > 1 and isinstance(given.get("negative_prompt"), str):
            given["negative_prompt"] = [given["negative_prompt"]] * len(images)
        return given


class HunyuanSkyreels(TrueGuidance):
    """SkyReels-V1: image latents as further channels, sampled from the call's generators."""

    batches = True


class HunyuanVideo(TrueGuidance):
    """HunyuanVideo-I2V with image latents as further channels (``latent_concat``).

    The call mixes a thousandth of the painting into ``latents=``, which is taken out beforehand;
    of its result it returns neither the first latent frame nor the first four frames of video. No
    batches: the unguided half of the call sees one black picture, however many there are, and a
    prompt that is cut is expected to be alone.
    """

    def variant(self, pipeline: "DiffusionPipeline") -> Family:
        """The other kind of weights replaces frame 0, and knows guidance as an embedding."""
        kind = pipeline.transformer.config.image_condition_type
        return HunyuanVideoFirstFrame() if kind == "token_replace" else self

    def prepared(self, pipeline: "DiffusionPipeline", given: dict[str, Any]) -> dict[str, Any]:
        """Without what the call will mix in."""
        if given.get("latents") is None:
            return given
        return given | {"latents": _unmixed(pipeline, given)}

    def run(self, pipeline: "DiffusionPipeline", given: dict[str, Any]) -> Tensor:
        """All latent frames."""
        last: list[Tensor] = []

        def keep(_pipe: Any, _step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            last[:] = [tensors["latents"]]
            return {}

        super().run(pipeline, given | {"callback_on_step_end": keep})
        return last[0]

    def decode(self, pipeline: "DiffusionPipeline", clip: Tensor, call: CallSettings) -> Tensor:
        """Without the first four frames, as the call does."""
        return super().decode(pipeline, clip, call)[:, :, 4:]


def _unmixed(pipeline: "DiffusionPipeline", given: Mapping[str, Any]) -> Tensor:
    """``latents`` such that the call, having mixed the painting's latent in, has the given ones."""
    x, height, width = given["latents"], given["height"], given["width"]
    device = pipeline._execution_device
    pixels = pipeline.video_processor.preprocess(given["image"], height, width)
    mixed_in, _ = pipeline.prepare_latents(
        pixels.to(device, pipeline.vae.dtype),
        *(len(x), x.shape[1], height, width, given["num_frames"], torch.float32, device),
        latents=torch.zeros_like(x),
        image_condition_type="latent_concat",
    )
    return (x.to(mixed_in) - mixed_in) / torch.tensor([_KEPT], device=device)


class HunyuanVideoFirstFrame(CleanFirstFrame, HunyuanVideo):
    """HunyuanVideo-I2V that keeps the clean painting as frame 0 (``token_replace``)."""

    guidance_argument = "guidance_scale"

    def decode(self, pipeline: "DiffusionPipeline", clip: Tensor, call: CallSettings) -> Tensor:
        """All frames."""
        return Family.decode(self, pipeline, clip, call)


class Guided(Family):
    """Guidance is a component of the pipeline; a ``guidance_scale`` exchanges it for the call."""

    per_painting = NEGATIVE_PROMPT

    def run(self, pipeline: "DiffusionPipeline", given: dict[str, Any]) -> Tensor:
        """The call under a guider of that scale; the pipeline's own one is put back."""
        scale = given.pop("guidance_scale", None)
        own = pipeline.guider
        if scale is not None:
            pipeline.guider = own.new(guidance_scale=scale)
        try:
            return super().run(pipeline, given)
        finally:
            pipeline.guider = own


class HunyuanVideo15(Guided):
    """HunyuanVideo 1.5: sizes come from a list, so the painting is resized to the nearest one.

    No batches: the call takes one picture.
    """

    def area(self, pipeline: "DiffusionPipeline") -> int:
        """Of its target size."""
        return int(pipeline.target_size**2)

    def native(self, pipeline: "DiffusionPipeline", call: CallSettings) -> CallSettings:
        """The size of the list with the nearest aspect that the call would keep."""
        processor, target = pipeline.video_processor, pipeline.target_size
        size = (call.height, call.width)
        # A listed size may itself be moved to its neighbour, nearer to the square: ratios are
        # rounded in the list.
        while (found := processor.calculate_default_height_width(*size, target)) != size:
            size = found
        return replace(call, height=int(size[0]), width=int(size[1]))

    def check_weights(self, pipeline: "DiffusionPipeline") -> None:
        """That one evaluation knows nothing of the next noise level."""
        if pipeline.transformer.config.use_meanflow:
            raise UnsupportedError(
                "this HunyuanVideo 1.5 is distilled to few steps (use_meanflow) and is told where "
                "the next one goes, which a distillation of motion does not know; take the weights "
                "that are not step-distilled."
            )

    def arguments(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        call: CallSettings,
        extras: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """The picture at the size, in place of height and width."""
        fitted = [fit(image, (call.width, call.height)) for image in images]
        given = super().arguments(fitted, prompts, call, extras)
        return {name: value for name, value in given.items() if name not in ("height", "width")}

    def pixels(
        self, pipeline: "DiffusionPipeline", image: Image.Image, call: CallSettings
    ) -> Tensor:
        """Resized here: the pipeline's own processor does not."""
        return super().pixels(pipeline, fit(image, (call.width, call.height)), call)

    def prompt_tokens(self, pipeline: "DiffusionPipeline") -> int:
        """Of the first text encoder."""
        return int(pipeline.tokenizer_max_length)
