"""What `model.options` may hold for the models whose pipelines are this project's own.

Defaults are those of the pipelines' calls; a test holds the two together.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

from epa_core.errors import UnsupportedError
from epa_core.model_cards.options import CallOptions, Option
from epa_core.ranges import Range

Noise: TypeAlias = Literal["pyoco_mixed", "vanilla"]
FrameInit: TypeAlias = Literal["still", "fused", "off"]
Filter: TypeAlias = Literal["gaussian", "butterworth", "ideal", "box"]
ImageLatent: TypeAlias = Literal["mode", "sample"]
#: How the method lays out Cinemo's latents: ``epa_core.families.cinemo``.
Reading: TypeAlias = Literal["absolute", "all-frames", "residual", "doubled", "painting-base"]

_NEGATIVE = Option(None, str, "what a video should not show, where the catalog says none", True)
_TIMESTEP = Range(0, 999, whole=True)

ANIMATE_ANYTHING = CallOptions(
    {
        "negative_prompt": _NEGATIVE,
        "motion_strength": Option(
            8.0, Range(0), "more is more motion; the catalog's own goes before it", True
        ),
    }
)


def _one_kind_of_guidance(given: Mapping[str, Any]) -> None:
    scale, rescale = given["image_guidance_scale"], given["guidance_rescale"]
    if rescale and scale > 1:
        raise UnsupportedError(
            f"guidance_rescale is {rescale:g} with image_guidance_scale {scale:g}; the released "
            "code knows no rescaling with guidance by the image, so use one of them."
        )


CONSISTI2V = CallOptions(
    {
        "negative_prompt": _NEGATIVE,
        "frame_stride": Option(
            3,
            Range(1, 1000, whole=True),
            "how far apart in a video the frames are; it was trained with 1 to 5",
        ),
        "image_guidance_scale": Option(
            1.0, Range(0, 1000), "above 1: three-way guidance, by nothing, image, image and text"
        ),
        "guidance_rescale": Option(
            0.0, Range(0, 1), "how far the contrast that guidance adds is taken back"
        ),
        "eta": Option(0.0, Range(0, 1), "noise that DDIM adds at each step"),
        "noise": Option("pyoco_mixed", get_args(Noise), "pyoco_mixed: frames share some of it"),
        "noise_alpha": Option(1.0, Range(0, 1000), "how much they share: a^2 / (1 + a^2)"),
        "frame_init": Option(
            "still",
            get_args(FrameInit),
            "whose low frequencies the noise has; still: the painting's, in the baseline; fused: "
            "the fused clip's, in the method too",
        ),
        "frame_init_timestep": Option(850, _TIMESTEP, "noise level of these frequencies"),
        "frame_init_filter": Option("gaussian", get_args(Filter), "what of them is low"),
        "frame_init_spatial": Option(0.25, Range(0, 2), "limit in space, a share of the spectrum"),
        "frame_init_temporal": Option(0.25, Range(0, 2), "limit in time, a share of the spectrum"),
        "frame_init_order": Option(4, Range(1, 100, whole=True), "how steep butterworth is"),
        "sample_posterior": Option(
            False, bool, "the baseline's painting as a sample of the VAE, as released"
        ),
    },
    _one_kind_of_guidance,
)

CINEMO = CallOptions(
    {
        "negative_prompt": _NEGATIVE,
        "motion_bucket_id": Option(95, Range(0, 999), "more is less motion"),
        "motion_strength": Option(
            None, Range(0, 100), "more is more: the bucket becomes 100 minus it", True
        ),
        "dct_init": Option(
            True, bool, "the baseline's noise has the painting's lowest frequencies"
        ),
        "dct_percentage": Option(0.23, Range(0, 1), "the share of rows and columns that are low"),
        "dct_timestep": Option(975, _TIMESTEP, "noise level of these frequencies"),
        "image_latent": Option("mode", get_args(ImageLatent), "sample: drawn, as released"),
        "decode_chunk_size": Option(
            14, Range(1, whole=True), "frames that the temporal decoder takes together"
        ),
        "epa_reading": Option(
            "absolute", get_args(Reading), "how residuals are fused (docs/architecture.md)"
        ),
    }
)
