"""Step caches: what they skip, that nothing leaks from call to call, and where they are refused."""

import functools
from collections import Counter
from dataclasses import replace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from deep_pipelines import STEPS, build_deep, frames_of
from tiny_pipelines import Tiny, build, picture

from epa_core.awakening import EPASettings, distill_latents
from epa_core.errors import UnsupportedError
from epa_core.levers import CACHE_SETTINGS, Levers, StepCache, placement, step_caches
from epa_core.loading import place
from epa_core.runner import runner_of

torch.set_num_threads(1)

RATIOS = (1.0, *[0.99] * (STEPS - 1))
CACHES = {
    "pab": StepCache("pab"),
    "first-block": StepCache("first-block", threshold=0.9),
    "mag": StepCache("mag", threshold=1.0, ratios=RATIOS),
    "faster": StepCache("faster"),
    "taylorseer": StepCache("taylorseer"),
}
WORKS_ON = [
    *[("cogvideox", name) for name in CACHES],
    ("wan21", "first-block"),
    ("ltx", "taylorseer"),
    ("wan_vace", "first-block"),
    ("kandinsky6", "taylorseer"),
    *[
        pytest.param(name, cache, marks=pytest.mark.slow)
        for name, cache in (
            *[("ltx", one) for one in ("pab", "first-block", "mag")],
            *[("wan21", one) for one in ("mag", "taylorseer")],
            *[("wan22", one) for one in ("first-block", "taylorseer")],
        )
    ],
]


@functools.cache
def plain(name: str) -> Any:
    """Frames with every step in full."""
    return frames_of(build_deep(name))


def with_cache(name: str, cache: StepCache) -> Tiny:
    """A tiny pipeline of three blocks that uses ``cache``."""
    tiny = build_deep(name)
    place(tiny.pipeline, "cpu", Levers(step_cache=cache))
    return tiny


def computed(tiny: Tiny) -> Counter[str]:
    """Counts what of the network computes; a look beneath the caches' hooks."""
    counts: Counter[str] = Counter()
    for part, module in tiny.pipeline.transformer.named_modules():
        if type(module).__name__.endswith(("Attention", "FeedForward")):
            own = module.forward

            def counted(*args: Any, _own: Any = own, _part: str = part, **kwargs: Any) -> Any:
                counts[_part] += 1
                return _own(*args, **kwargs)

            module.forward = counted
    return counts


def hooked(tiny: Tiny) -> list[str]:
    """Modules that have any hook left."""
    return [
        part
        for part, module in tiny.pipeline.transformer.named_modules()
        if getattr(module, "_diffusers_hook", None) and module._diffusers_hook.hooks
    ]


@pytest.mark.parametrize(("name", "cache"), WORKS_ON)
def test_a_cache_skips_and_two_runs_are_as_one_fresh_one(name: str, cache: str) -> None:
    tiny = with_cache(name, CACHES[cache])
    full = build_deep(name)
    counts, all_counts = computed(tiny), computed(full)
    once = frames_of(tiny)
    assert np.array_equal(frames_of(full), plain(name))
    if name != "wan22":  # its second expert has the steps that are skipped
        assert counts.total() < all_counts.total()
    assert np.abs(once - plain(name)).max() > 0
    assert not hooked(tiny)
    frames_of(tiny, seeds=(5,), steps=STEPS - 2)  # another work between them
    assert np.array_equal(frames_of(tiny), once)
    assert np.array_equal(frames_of(with_cache(name, CACHES[cache])), once)


def latents_of(tiny: Tiny, **how: Any) -> torch.Tensor:
    """Refined latents of two paths."""
    clips = distill_latents(
        tiny.pipeline,
        [picture(1), picture(2)],
        ["the sea"] * 2,
        [1, 2],
        EPASettings(num_inference_steps=STEPS),
        tiny.call,
        **how,
    )
    return torch.stack(clips)


def test_a_cache_works_in_its_stages_only() -> None:
    full = latents_of(build_deep("ltx"))
    assert torch.equal(latents_of(with_cache("ltx", StepCache("pab"))), full)
    everywhere = StepCache("pab", stages=("distill", "animate"))
    assert not torch.equal(latents_of(with_cache("ltx", everywhere)), full)


def test_the_stock_call_of_the_pipeline_stays_as_it_was() -> None:
    tiny = with_cache("ltx", StepCache("pab", interval=4))
    frames_of(tiny)
    step_caches._caches.pop(tiny.pipeline)
    assert np.array_equal(frames_of(tiny), plain("ltx"))


@pytest.mark.parametrize("cache", CACHES)
def test_a_call_that_failed_leaves_nothing_behind(cache: str) -> None:
    """As where memory was short: the batch is halved and goes again through the same network."""
    tiny = with_cache("cogvideox", CACHES[cache])
    expected = frames_of(with_cache("cogvideox", CACHES[cache]))
    calls: list[int] = []

    def failing(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 12:
            raise torch.OutOfMemoryError("short")

    hook = tiny.pipeline.transformer.register_forward_pre_hook(failing)
    with pytest.raises(torch.OutOfMemoryError):
        frames_of(tiny)
    hook.remove()
    assert not hooked(tiny)
    assert np.array_equal(frames_of(tiny), expected)


@pytest.mark.parametrize("cache", ["pab", "first-block", "mag", "taylorseer"])
@pytest.mark.parametrize("name", ["ltx", pytest.param("cogvideox", marks=pytest.mark.slow)])
def test_a_batch_decides_nothing_about_a_painting(name: str, cache: str) -> None:
    both = frames_of(with_cache(name, CACHES[cache]), seeds=(1, 2))
    singles = [frames_of(with_cache(name, CACHES[cache]), seeds=(seed,))[0] for seed in (1, 2)]
    assert np.abs(both - np.stack(singles)).max() <= 1


def test_the_first_block_of_a_batch_would_decide_for_all() -> None:
    """Why its paintings go through calls of their own: the mean over a batch decides."""
    tiny = with_cache("ltx", CACHES["first-block"])
    runner = runner_of(tiny.pipeline, tiny.call, STEPS)
    assert list(runner.parts(2, "animate")) == [slice(0, 1), slice(1, 2)]
    assert list(runner.parts(2, "distill")) == [slice(0, 2)]
    other = with_cache("ltx", StepCache("pab"))
    runner = runner_of(other.pipeline, other.call, STEPS)
    assert list(runner.parts(2, "animate")) == [slice(0, 2)]


def test_a_distillation_with_a_cache_is_not_taken_up_in_its_middle() -> None:
    tiny = with_cache("ltx", StepCache("pab", stages=("distill",)))
    states: dict[int, Any] = {}
    latents_of(tiny, on_update=states.__setitem__)
    with pytest.raises(UnsupportedError, match="cannot be taken up in its middle"):
        latents_of(tiny, resume=states)


def test_ratios_are_those_of_the_steps_that_are_made() -> None:
    """The final run starts at t0; the ratios of the steps before it are left out."""
    tiny = with_cache("ltx", CACHES["mag"])
    ratios = tuple(float(number) for number in range(1, STEPS + 1))
    cache = StepCache("mag", ratios=ratios).resolved()
    network = tiny.pipeline.transformer
    config = step_caches._configuration(tiny.pipeline, network, cache, STEPS, slice(3, None))
    assert config.mag_ratios.tolist() == list(ratios[3:])
    assert config.num_inference_steps == STEPS - 3


@pytest.mark.parametrize(
    ("name", "cache"),
    [("svd", "pab"), ("i2vgenxl", "mag"), ("pia", "faster"), ("animate_anything", "taylorseer")],
)
def test_networks_without_caches_are_refused(name: str, cache: str) -> None:
    with pytest.raises(UnsupportedError, match=r"no step caches for .*UNet.*take compile, or few"):
        place(build(name).pipeline, "cpu", Levers(step_cache=CACHES[cache]))


@pytest.mark.parametrize(
    ("name", "cache", "message"),
    [
        (
            "wan21",
            StepCache("pab"),
            r"pass of a step apart, .*take 'first-block' or 'taylorseer'",
        ),
        ("wan22", StepCache("faster"), "pass of a step apart"),
        ("ltx", StepCache("faster"), "packs them into tokens; take 'pab' or 'first-block'"),
        ("wan22", CACHES["mag"], "counts the steps of one network, and Wan.* has two"),
        ("ltx", StepCache("taylorseer", modules=("blocks",)), "no module of LTX.*attn1, .*attn2"),
        # A list of blocks is never called itself: a hook on it would count, and do nothing.
        (
            "ltx",
            StepCache("taylorseer", modules=("transformer_blocks",)),
            "modules transformer_blocks: no module of LTX.* that computes",
        ),
        # One pattern that names something does not hide another that names nothing.
        (
            "wan21",
            StepCache("taylorseer", modules=(r"blocks\.\d\.attn1", r"blocks\.\d\.attn3")),
            r"modules blocks\\.\\d\\.attn3: no module of Wan",
        ),
    ],
)
def test_what_would_go_wrong_silently_is_refused(name: str, cache: StepCache, message: str) -> None:
    tiny = build_deep(name)
    with pytest.raises(UnsupportedError, match=message):
        place(tiny.pipeline, "cpu", Levers(step_cache=cache))
    assert not hooked(tiny)
    assert step_caches.cache_of(tiny.pipeline, "animate") is None


@pytest.mark.parametrize(
    ("cache", "offload"), [("pab", "model"), ("first-block", "block"), ("taylorseer", "leaf")]
)
def test_a_cache_gives_the_same_with_offload_and_fp8_as_without(cache: str, offload: Any) -> None:
    both = Levers(step_cache=CACHES[cache], storage_dtype="float8_e4m3fn")
    alone = build_deep("cogvideox")
    place(alone.pipeline, "cpu", both)
    tiny = build_deep("cogvideox")
    place(tiny.pipeline, "cpu", both)
    placement.bring(tiny.pipeline, "cpu", replace(both, offload=offload))
    assert np.array_equal(frames_of(tiny), frames_of(alone))


def test_a_network_without_attentions_of_diffusers_is_refused_by_what_was_hooked() -> None:
    """Not by a list of families: nothing that the cache looks for is found in these blocks."""

    class Mixed(diffusers.LTXVideoTransformer3DModel):
        pass

    tiny = build_deep("ltx")
    tiny.pipeline.transformer = Mixed.from_config(tiny.pipeline.transformer.config)
    for block in tiny.pipeline.transformer.transformer_blocks:
        block.attn1, block.attn2 = torch.nn.Identity(), torch.nn.Identity()
    with pytest.raises(UnsupportedError, match="'taylorseer' finds nothing in Mixed to take over"):
        place(tiny.pipeline, "cpu", Levers(step_cache=StepCache("taylorseer")))
    assert not hooked(tiny)
    named = StepCache("taylorseer", modules=(r"transformer_blocks\.\d\.ff",))
    place(tiny.pipeline, "cpu", Levers(step_cache=named))


def test_a_network_of_one_block_has_no_first_one() -> None:
    tiny = build("ltx")
    with pytest.raises(UnsupportedError, match=r"'first-block' on LTX.* two blocks or more"):
        place(tiny.pipeline, "cpu", Levers(step_cache=StepCache("first-block")))
    assert not hooked(tiny)
    assert not tiny.pipeline.transformer.is_cache_enabled


def test_diffusers_own_patterns_of_taylorseer_would_match_nothing() -> None:
    """Why the attentions are named by us; when this fails, diffusers may do without."""
    for name in ("ltx", "wan21", "cogvideox"):
        network = build_deep(name).pipeline.transformer
        network.enable_cache(diffusers.TaylorSeerCacheConfig())
        assert not step_caches._hooks(network)


def test_a_call_that_does_not_name_its_passes_is_refused() -> None:
    pipeline = diffusers.HunyuanVideoImageToVideoPipeline(
        text_encoder=None,
        tokenizer=None,
        transformer=diffusers.HunyuanVideoTransformer3DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=10,
            num_layers=2,
            num_single_layers=1,
            num_refiner_layers=1,
            text_embed_dim=16,
            pooled_projection_dim=8,
            rope_axes_dim=(2, 4, 4),
        ),
        vae=None,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        text_encoder_2=None,
        tokenizer_2=None,
        image_processor=None,
    )
    for cache in ("first-block", "taylorseer", "pab"):
        with pytest.raises(UnsupportedError, match=r"by no cache_context, .*take compile"):
            place(pipeline, "cpu", Levers(step_cache=CACHES[cache]))


def test_faster_needs_guidance() -> None:
    tiny = with_cache("cogvideox", StepCache("faster"))
    step_caches.check_guidance(tiny.pipeline, None)  # the call's own is 6
    with pytest.raises(UnsupportedError, match="guidance_scale 1 means no guidance; take 'pab'"):
        frames_of(tiny, guidance_scale=1.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "deep"}, "'deep' is not one of pab, first-block, mag, faster, taylorseer"),
        ({"name": "pab", "threshold": 0.1}, "'pab' reads no threshold; it reads interval"),
        ({"name": "first-block", "interval": 2}, "reads no interval; it reads threshold"),
        ({"name": "pab", "modules": ("x",)}, "reads no modules"),
        ({"name": "taylorseer", "modules": ("attn[",)}, r"modules 'attn\[' is no pattern \(unterm"),
        ({"name": "mag"}, r"'mag' needs ratios.* MagCacheConfig\(calibrate=True\)"),
        ({"name": "mag", "ratios": (1.0,), "stages": ("distill",)}, "can be animate alone"),
        ({"name": "pab", "stages": ()}, "stages is empty; name distill, animate or both"),
    ],
)
def test_settings_that_mean_nothing_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        StepCache(**given)


def test_what_is_usual_is_filled_in() -> None:
    assert set(CACHE_SETTINGS) == set(CACHES)
    assert StepCache("pab").resolved() == StepCache("pab", interval=2)
    assert StepCache("first-block", threshold=0.2).resolved().threshold == 0.2
