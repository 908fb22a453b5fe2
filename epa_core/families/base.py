"""What differs between pipeline classes: latents in, latents out, and the names of arguments.

Conditioning, guidance and scheduling stay the pipeline's own business (``epa_core.seam``), so a
family only says how a clip of latents is laid out. Three layouts:

- *clip*: clean, normalised latents of all frames, [B, C, F, h, w] or [B, F, C, h, w], float32;
- *step*: what the pipeline hands to ``scheduler.step``, usually the same;
- *packed*: the value of the pipeline's ``latents=`` argument, usually the same.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from epa_core.distill import noised
from epa_core.errors import ItemError, UnsupportedError
from epa_core.families.normalising import denormalise, normalise
from epa_core.fuse import Interpolation, fuse
from epa_core.media.images import fit

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from epa_core.noise_levels import NoiseLevel


@dataclass(frozen=True)
class CallSettings:
    """Size (pixels) and frames of a clip, and further keyword arguments of the pipeline's call.

    ``guidance_scale`` None keeps the pipeline's default. ``options`` hold for every painting of a
    call; precomputed embeddings in them (batch of 1) replace the prompts.
    """

    height: int
    width: int
    num_frames: int
    guidance_scale: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def _repeated(name: str, value: Any, count: int) -> Any:
    embedding = name.endswith(("prompt_embeds", "prompt_attention_mask"))
    return value.repeat_interleave(count, 0) if embedding and isinstance(value, Tensor) else value


def _embedded(options: Mapping[str, Any]) -> bool:
    """Whether the options of a call hold the prompt as embeddings."""
    return any(
        name.startswith("prompt_embeds") and value is not None for name, value in options.items()
    )


def call_default(pipeline: "DiffusionPipeline", argument: str) -> Any:
    """Default of a keyword argument of the pipeline's call; None if there is none."""
    parameter = inspect.signature(type(pipeline).__call__).parameters.get(argument)
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


def denoiser(pipeline: "DiffusionPipeline") -> Any:
    """The network that predicts noise: ``transformer`` or ``unet``."""
    return getattr(pipeline, "transformer", None) or pipeline.unet


@contextmanager
def dtype_kept(module: Any) -> Iterator[None]:
    """Put ``module`` back into its present dtype at the end, also when the block raises."""
    own = module.dtype
    try:
        yield
    finally:
        if module.dtype != own:
            module.to(dtype=own)


class Family:
    """The common case; subclasses state what differs."""

    #: Axis of the frames in a clip without batch axis: 1 for C F h w, 0 for F C h w.
    frame_axis = 1
    #: The VAE compresses time, so the repeated *pixels* are encoded, not the latent repeated.
    video_vae = True
    #: Several paintings fit in one call, each drawing from its own generator only.
    batches = False
    #: The pipeline casts ``latents=`` itself; False: they must come in the denoiser's dtype.
    casts_latents = True
    #: Whether the call takes ``prompt``.
    takes_prompt = True
    #: Further arguments that may differ from painting to painting, with what stands for "none".
    per_painting: Mapping[str, Any] = MappingProxyType({})
    image_argument = "image"
    frames_argument = "num_frames"
    guidance_argument = "guidance_scale"

    def variant(self, pipeline: "DiffusionPipeline") -> "Family":
        """The family of this very pipeline, where one class has several layouts."""
        return self

    def size_multiple(self, pipeline: "DiffusionPipeline") -> int:
        """Height and width must be multiples of this many pixels: the VAE's factor, the patch."""
        patch = denoiser(pipeline).config.get("patch_size", 2)  # one number, or one per axis
        return int(pipeline.vae_scale_factor_spatial) * int(np.ravel(patch)[-1])

    def frame_multiple(self, pipeline: "DiffusionPipeline") -> int:
        """``num_frames`` must be one more than a multiple of this; 1 where any number goes."""
        return int(pipeline.vae_scale_factor_temporal)

    def area(self, pipeline: "DiffusionPipeline") -> int:
        """Pixels of the pipeline's default size."""
        height, width = (call_default(pipeline, name) for name in ("height", "width"))
        return int(height * width)

    def num_frames(self, pipeline: "DiffusionPipeline") -> int:
        """The pipeline's default number of frames."""
        return int(call_default(pipeline, "num_frames"))

    def native(self, pipeline: "DiffusionPipeline", call: CallSettings) -> CallSettings:
        """``call`` at a size the model computes at; the painting is resized to it, frames back."""
        return call

    def check(self, pipeline: "DiffusionPipeline", call: CallSettings) -> None:
        """UnsupportedError if the weights, size, number of frames or options do not fit."""
        self.check_weights(pipeline)
        self.check_options(pipeline, call.options)
        multiple = self.size_multiple(pipeline)
        for name, value in (("height", call.height), ("width", call.width)):
            if value < multiple or value % multiple:
                raise UnsupportedError(
                    f"{name} is {value}; {type(pipeline).__name__} takes multiples of {multiple}."
                )
        self.check_frames(pipeline, call.num_frames)

    def check_weights(self, pipeline: "DiffusionPipeline") -> None:
        """UnsupportedError for weights of the class that cannot be driven."""

    def check_frames(self, pipeline: "DiffusionPipeline", num_frames: int) -> None:
        """UnsupportedError if the model cannot make so many frames."""
        step, least = self.frame_multiple(pipeline), self.least_frames(pipeline)
        said = f"num_frames is {num_frames}; {type(pipeline).__name__} takes"
        if num_frames < least:
            raise UnsupportedError(f"{said} {least} or more.")
        if (num_frames - 1) % step:
            raise UnsupportedError(f"{said} multiples of {step}, plus 1.")

    def least_frames(self, pipeline: "DiffusionPipeline") -> int:
        """The fewest frames of a video."""
        return 1

    def check_options(self, pipeline: "DiffusionPipeline", options: Mapping[str, Any]) -> None:
        """UnsupportedError for a value in a call's options that these very weights cannot take."""

    def check_own(self, pipeline: "DiffusionPipeline", own: Mapping[str, Any]) -> None:
        """ItemError ``unsupported_condition`` for a painting's own argument of that kind."""
        try:
            self.check_options(pipeline, own)
        except UnsupportedError as error:
            raise ItemError("unsupported_condition", str(error)) from error

    def arguments(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        call: CallSettings,
        extras: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """Keyword arguments that say what to animate; plain values for one painting, else lists.

        ``extras`` holds each painting's own arguments; UnsupportedError for one that is not among
        ``per_painting``.
        """
        count = len(images)
        given: dict[str, Any] = {
            **{name: _repeated(name, value, count) for name, value in call.options.items()},
            "height": call.height,
            "width": call.width,
            self.frames_argument: call.num_frames,
            self.image_argument: images[0] if count == 1 else list(images),
        }
        if call.guidance_scale is not None:
            given[self.guidance_argument] = call.guidance_scale
        if self.takes_prompt and not _embedded(call.options):
            given["prompt"] = prompts[0] if count == 1 else list(prompts)
        return given | self._own_arguments(extras, call)

    def proxy_arguments(self, painting: Image.Image, call: CallSettings) -> Mapping[str, Any]:
        """Arguments that a proxy's path has of the painting that it belongs to."""
        return {}

    def _own_arguments(
        self, extras: Sequence[Mapping[str, Any]], call: CallSettings
    ) -> dict[str, Any]:
        """Each painting's own arguments; what the call's options say serves those without."""
        own: dict[str, Any] = {}
        for name in sorted({name for extra in extras for name in extra}):
            if name not in self.per_painting:
                raise UnsupportedError(
                    f"{type(self).__name__} takes no {name} of a single painting; it takes "
                    f"{', '.join(self.per_painting) or 'none'}."
                )
            missing = call.options.get(name, self.per_painting[name])
            values = [extra.get(name, missing) for extra in extras]
            own[name] = values[0] if len(values) == 1 else values
        return own

    def prepared(self, pipeline: "DiffusionPipeline", given: dict[str, Any]) -> dict[str, Any]:
        """Arguments whose ``latents`` arrive at the first step as the given ones are."""
        return given

    def run(self, pipeline: "DiffusionPipeline", given: dict[str, Any]) -> Tensor:
        """The stock call with these arguments: what it returns as latents, whole."""
        return pipeline(**self.prepared(pipeline, given)).frames

    def pixels(
        self, pipeline: "DiffusionPipeline", image: Image.Image, call: CallSettings
    ) -> Tensor:
        """The painting as the pipeline itself sees it, [1, 3, H, W] in [-1, 1]."""
        return pipeline.video_processor.preprocess(image, height=call.height, width=call.width)

    def encoded_frames(self, pipeline: "DiffusionPipeline", call: CallSettings) -> int:
        """Frames that the latents stand for; more than asked for where the model pads."""
        return call.num_frames

    def encode(
        self, pipeline: "DiffusionPipeline", image: Image.Image, call: CallSettings
    ) -> Tensor:
        """The painting standing still for the whole clip; clip layout with a batch of 1."""
        vae, frames = pipeline.vae, self.encoded_frames(pipeline, call)
        pixels = self.pixels(pipeline, image, call).to(pipeline._execution_device, vae.dtype)
        if self.video_vae:
            still = pixels.unsqueeze(2).repeat(1, 1, frames, 1, 1)
            z = normalise(vae, vae.encode(still).latent_dist.mode().float())
        else:
            z = normalise(vae, vae.encode(pixels).latent_dist.mode().float())
            z = z.unsqueeze(2).repeat(1, 1, frames, 1, 1)
        return z.movedim(2, self.frame_axis + 1)

    def to_step(self, clips: Tensor) -> Tensor:
        """Clip layout -> step layout."""
        return clips

    def from_step(self, x: Tensor, clips: Tensor) -> Tensor:
        """Step layout -> clip layout; ``clips`` supplies whatever is not stepped."""
        return x

    def renoising_noise(
        self,
        pipeline: "DiffusionPipeline",
        clip: Tensor,
        call: CallSettings,
        generator: torch.Generator,
    ) -> Tensor:
        """The noise that one clip (no batch axis) is re-noised with, a batch of 1."""
        return torch.randn(self.to_step(clip[None]).shape, generator=generator)

    def renoised(
        self,
        pipeline: "DiffusionPipeline",
        clips: Tensor,
        noise: Tensor,
        level: "NoiseLevel",
        call: CallSettings,
    ) -> Tensor:
        """Clean clips noised to the level they are animated from; step layout."""
        return noised(self.to_step(clips), noise, level)

    def pack(self, pipeline: "DiffusionPipeline", x: Tensor, clips: Tensor) -> Tensor:
        """A noised sample in step layout -> the value of ``latents=``."""
        packed = self.from_step(x, clips)
        return packed if self.casts_latents else packed.to(denoiser(pipeline).dtype)

    def unpack(self, pipeline: "DiffusionPipeline", latents: Tensor, call: CallSettings) -> Tensor:
        """What the pipeline returns for ``output_type="latent"`` -> clip layout."""
        return latents

    def fuse(
        self, real: Tensor, proxy: Tensor, how: Interpolation, half: bool, call: CallSettings
    ) -> Tensor:
        """One clip (without a batch axis) from those of both paths."""
        return fuse(real, proxy, self.frame_axis, how, half=half)

    def decode(self, pipeline: "DiffusionPipeline", clip: Tensor, call: CallSettings) -> Tensor:
        """One clip (batch of 1) as video [1, 3, F, H, W] in [-1, 1], as the pipeline decodes it."""
        vae = pipeline.vae
        z = denormalise(vae, clip.to(pipeline._execution_device, vae.dtype))
        return vae.decode(z).sample

    def frames(
        self, pipeline: "DiffusionPipeline", clip: Tensor, call: CallSettings
    ) -> "np.ndarray[Any, Any]":
        """One clip (batch of 1) as uint8 frames [F, H, W, 3], at the size of ``call``.

        ItemError ``numeric`` where the decoder gives values that are no numbers.
        """
        video = self.decode(pipeline, clip, self.native(pipeline, call))
        if not torch.isfinite(video).all():
            raise ItemError("numeric", "the decoder produced values that are no numbers")
        unit = pipeline.video_processor.postprocess_video(video, output_type="np")[0]
        frames, size = self.to_bytes(unit), (call.width, call.height)
        if frames.shape[1:3] == size[::-1]:
            return frames
        return np.stack([np.asarray(fit(Image.fromarray(frame), size)) for frame in frames])

    def to_bytes(self, unit: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Frames in 0..1 as uint8."""
        return (unit * 255).round().astype(np.uint8)

    def unread(self, pipeline: "DiffusionPipeline", prompt: str) -> str:
        """The tail of ``prompt`` that the text encoder does not get; "" if it gets all."""
        tokenizer = getattr(pipeline, "tokenizer", None)
        if tokenizer is None or not self.takes_prompt:
            return ""
        from epa_core.text import cut_off

        return cut_off(tokenizer, prompt, self.prompt_tokens(pipeline))

    def prompt_tokens(self, pipeline: "DiffusionPipeline") -> int | None:
        """Tokens of a prompt that are read, special ones included; None: as the tokenizer says."""
        limit: int | None = call_default(pipeline, "max_sequence_length")
        return limit
