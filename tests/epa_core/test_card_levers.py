"""What cards say of levers, against the loaded pipelines themselves; and by the device's name."""

import inspect
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from deep_pipelines import build_deep
from tiny_pipelines import TINY_OF_CARD, Tiny, build, picture

from epa_core.awakening import EPASettings, animate_latents, distill_latents
from epa_core.cards import MODELS, load_model
from epa_core.errors import UnsupportedError
from epa_core.levers import CACHE_SETTINGS, Levers, StepCache, placement
from epa_core.levers.early import check_card, check_device
from epa_core.loading import place

torch.set_num_threads(1)

# Two cards share a tiny pipeline for its noise levels; of experts, they have one and two.
TINY = TINY_OF_CARD | {"wan2.1-i2v-720p": "wan21"}
CACHES = [StepCache(name, ratios=(1.0,) if name == "mag" else ()) for name in CACHE_SETTINGS]  # type: ignore[arg-type] # the names of all
EACH = [
    Levers(vae_slicing=True),
    Levers(vae_tiling=True),
    Levers(channels_last=True),
    Levers(attention="_native_math"),
    *[Levers(step_cache=cache) for cache in CACHES],
    Levers(compile="blocks"),
]


def refusal(check: object, *given: object) -> str:
    """The sentence with which a check refuses; "" where it does not."""
    try:
        check(*given)  # type: ignore[operator] # each of them is a function
    except UnsupportedError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", MODELS)
def test_a_card_refuses_what_its_pipeline_has_no_use_for_and_nothing_else(name: str) -> None:
    card, pipeline = MODELS[name], build_deep(TINY[name]).pipeline
    for levers in EACH:
        early, loaded = refusal(check_card, card, levers), refusal(place, pipeline, "cpu", levers)
        assert bool(early) == bool(loaded), (levers, early, loaded)
        assert not early or (name in early and early[-1] == "." and "\n" not in early)
    assert card.levers.network == bool(placement.denoisers_of(pipeline))
    for levers in (Levers(storage_dtype="float8_e5m2"), Levers(compile=True)):
        assert bool(refusal(check_card, card, levers)) != card.levers.network
    call = inspect.signature(type(pipeline).__call__).parameters
    assert card.levers.chunks == ("decode_chunk_size" in call)


def layer_by_layer(pipeline: Any) -> None:
    """What diffusers' enable_sequential_cpu_offload does, for the device cpu.

    It names that device cpu:0, which accelerate takes for another one than where the weights are.
    """
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            cpu_offload(part, torch.device("cpu"), offload_buffers=len(part._parameters) > 0)


QUICK = ("wan2.1-i2v-480p", "animate-anything", "cogvideox-5b-i2v", "ltx-video", "cinemo")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in {TINY[name]: name for name in reversed(MODELS) if name != "preview"}.values()
    ],
)
def test_layers_taken_away_one_by_one_change_nothing_or_the_card_says_that_they_do(
    name: str,
) -> None:
    tiny = build(TINY[name])
    expected = latents_of(tiny)
    if not MODELS[name].levers.sequential:
        with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
            latents_of(tiny, apart=True)
        return
    assert torch.equal(latents_of(tiny, apart=True), expected)
    parts = [part for part in tiny.pipeline.components.values() if hasattr(part, "parameters")]
    assert {weight.device.type for part in parts for weight in part.parameters()} == {"meta"}
    assert torch.equal(latents_of(tiny), expected)


def latents_of(tiny: Tiny, *, apart: bool = False) -> torch.Tensor:
    """Of both stages; before them, its layers are taken apart on demand."""
    if apart:
        layer_by_layer(tiny.pipeline)
    settings = EPASettings(num_inference_steps=2)
    entries = [picture(1, tiny.call.height)], [""], [1]
    real = distill_latents(tiny.pipeline, *entries, settings, tiny.call)
    return animate_latents(tiny.pipeline, *entries, real, real, settings, tiny.call)[0]


@pytest.mark.parametrize(
    ("name", "levers", "sentence"),
    [
        ("preview", Levers(offload="model"), "preview has no network, so offload would do nothing"),
        ("preview", Levers(quantised_attention="sage"), "so attention would do nothing; leave it"),
        ("wan2.1-i2v-480p", Levers(vae_slicing=True), "one clip, as it is; take vae_tiling."),
        ("svd", Levers(vae_tiling=True), "svd knows no tiles.*; take the option decode_chunk_size"),
        ("i2vgen-xl", Levers(vae_slicing=True), "take vae_tiling or the option decode_chunk_size"),
        (
            "ltx-2",
            Levers(step_cache=StepCache("pab")),
            "in ltx-2 .*; take step_cache 'taylorseer'.",
        ),
        ("cinemo", Levers(step_cache=StepCache("pab")), "take compile, or fewer animate.num_inf"),
        ("pia", Levers(offload="sequential"), "take offload 'model', 'block' or 'leaf'"),
        ("svd", Levers(attention="flash"), "no attention of svd can be switched.*; leave it out"),
        ("sana-video-480p", Levers(compile="blocks"), "take compile: true"),
        ("ltx-video", Levers(channels_last=True), "ltx-video has no 2-D convolutions"),
    ],
)
def test_a_model_is_not_loaded_with_what_its_card_refuses(
    name: str, levers: Levers, sentence: str
) -> None:
    """Nor looked for: there is no such repository."""
    source = None if name == "preview" else "owner/weights"
    with pytest.raises(UnsupportedError, match=sentence):
        load_model(name, source=source, revision=source and "abc", device="cuda", levers=levers)


@pytest.mark.parametrize(
    ("device", "levers", "sentence"),
    [
        ("cpu", Levers(offload="leaf"), "moves modules to an accelerator, not the CPU"),
        ("cpu", Levers(quantised_attention="sage"), "'sage' computes on CUDA devices only"),
        ("mps", Levers(attention="_native_cudnn"), "CUDA devices only, and the device is 'mps'"),
        ("mps:0", Levers(offload="leaf", offload_stream=True), "offload_stream needs the streams"),
        ("cuda:1", Levers(offload="leaf", offload_stream=True), ""),
        ("cuda", Levers(attention="flash"), ""),
        ("mps", Levers(offload="model"), ""),
        ("cpu", Levers(attention="_native_flash"), ""),
    ],
)
def test_what_a_device_cannot_is_told_from_its_name(
    device: str, levers: Levers, sentence: str
) -> None:
    said = refusal(check_device, device, levers)
    assert sentence in said
    assert bool(said) == bool(sentence)
