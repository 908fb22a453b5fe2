"""Which family drives which pipeline class; ``register`` adds one's own."""

from typing import TYPE_CHECKING

from epa_core.errors import UnsupportedError
from epa_core.families.animate_anything import AnimateAnything
from epa_core.families.base import CallSettings, Family
from epa_core.families.cinemo import Cinemo
from epa_core.families.consisti2v import ConsistI2V
from epa_core.families.hunyuan import HunyuanSkyreels, HunyuanVideo, HunyuanVideo15
from epa_core.families.inpainting import EasyAnimate, WanVACE
from epa_core.families.ltx import LTX, LTX2
from epa_core.families.others import Kandinsky5, Kandinsky6, MotifVideo, SanaVideo
from epa_core.families.stock import (
    AnimateDiff,
    CogVideoX,
    I2VGenXL,
    Preview,
    SkyReels,
    SparseControl,
    StableVideoDiffusion,
    Wan,
)
from epa_core.model_cards.refused import REFUSED

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

__all__ = ["CallSettings", "Family", "family_of", "register"]

# By class name, so that looking a family up imports no pipeline.
_FAMILIES: dict[str, Family] = {
    "PreviewPipeline": Preview(),
    "AnimateAnythingPipeline": AnimateAnything(),
    "ConsistI2VPipeline": ConsistI2V(),
    "WanImageToVideoPipeline": Wan(),
    "CogVideoXImageToVideoPipeline": CogVideoX(),
    "LTXImageToVideoPipeline": LTX(),
    "LTX2ImageToVideoPipeline": LTX2(),
    "HunyuanVideoImageToVideoPipeline": HunyuanVideo(),
    "HunyuanVideo15ImageToVideoPipeline": HunyuanVideo15(),
    "HunyuanSkyreelsImageToVideoPipeline": HunyuanSkyreels(),
    "SkyReelsV2ImageToVideoPipeline": SkyReels(),
    "WanVACEPipeline": WanVACE(),
    "EasyAnimateInpaintPipeline": EasyAnimate(),
    "SanaImageToVideoPipeline": SanaVideo(),
    "Kandinsky5I2VPipeline": Kandinsky5(),
    "Kandinsky6TI2VAPipeline": Kandinsky6(),
    "MotifVideoImage2VideoPipeline": MotifVideo(),
    "StableVideoDiffusionPipeline": StableVideoDiffusion(),
    "I2VGenXLPipeline": I2VGenXL(),
    "AnimateDiffSparseControlNetPipeline": SparseControl(),
    "PIAPipeline": AnimateDiff(),
    "CinemoPipeline": Cinemo(),
}


def register(pipeline_class: type, family: Family) -> None:
    """Let ``family`` drive pipelines of ``pipeline_class`` and of its subclasses."""
    _FAMILIES[pipeline_class.__name__] = family


def family_of(pipeline: "DiffusionPipeline") -> Family:
    """The family of the pipeline's class or its nearest base; UnsupportedError if there is none."""
    for base in type(pipeline).__mro__:
        if base.__name__ in _FAMILIES:
            return _FAMILIES[base.__name__].variant(pipeline)
    for base in type(pipeline).__mro__:
        if base.__name__ in REFUSED:
            raise UnsupportedError(
                f"{base.__name__} cannot be driven, because {REFUSED[base.__name__]}."
            )
    raise UnsupportedError(
        f"{type(pipeline).__name__} is not supported; supported are {', '.join(sorted(_FAMILIES))} "
        "and classes given to epa_core.families.register."
    )
