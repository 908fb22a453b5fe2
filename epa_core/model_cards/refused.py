"""Image-to-video classes of diffusers that are not driven, and why (shown by ``epa models``)."""

from collections.abc import Mapping

_WINDOWS = "it makes the video in windows or chunks, each with noise levels of its own"
_GUARD = "it must not run without NVIDIA's guardrail (cosmos_guardrail), which was not at hand "

#: Pipeline class -> the reason, a clause that follows "because".
REFUSED: Mapping[str, str] = {
    "ChronoEditPipeline": "it edits a picture: of its frames, which are steps of reasoning, two "
    "are kept",
    "ConsisIDPipeline": "it keeps a person's face, not the picture",
    "Cosmos2VideoToWorldPipeline": _GUARD + "to be tried, and its flow-matching scheduler holds "
    "noise levels of another kind, up to 80, by which it multiplies latents=",
    "Cosmos2_5_PredictBasePipeline": _GUARD + "to be tried and would have to judge frames "
    "that are decoded here; with a stand-in its call can be driven",
    "CosmosVideoToWorldPipeline": "it calls its scheduler twice per step",
    "HeliosPipeline": _WINDOWS,
    "HeliosPyramidPipeline": _WINDOWS,
    "HunyuanVideoFramepackPipeline": "it takes no latents= to start from",
    "LTXConditionPipeline": "it gives every token a noise level of its own; take "
    "LTXImageToVideoPipeline, which loads the same weights",
    "LTX2ConditionPipeline": "it gives every token a noise level of its own; take "
    "LTX2ImageToVideoPipeline, which loads the same weights",
    "LTXI2VLongMultiPromptPipeline": _WINDOWS,
    "SanaWMPipeline": _WINDOWS,
    "SkyReelsV2DiffusionForcingImageToVideoPipeline": "it has one scheduler per frame; take "
    "SkyReelsV2ImageToVideoPipeline",
    "WanAnimatePipeline": "it takes a video of the motion",
}
