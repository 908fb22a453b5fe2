"""Each lever on a UNet and on a transformer: the same frames up to rounding, or visibly others."""

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
import torch
from deep_pipelines import build_deep, frames_of
from diffusers.hooks import group_offloading
from diffusers.models import attention_dispatch
from tiny_pipelines import Tiny, build, picture

from epa_core.errors import UnsupportedError
from epa_core.levers import Levers, StepCache, attention, placement
from epa_core.loading import place
from epa_core.runner import Batch, runner_of

torch.set_num_threads(1)

UNET, TRANSFORMER = "animate_anything", "wan21"
BOTH = pytest.mark.parametrize("name", [UNET, TRANSFORMER])
STEPS = 4


@functools.cache
def plain(name: str) -> Any:
    """Frames without any lever."""
    return frames_of(build(name), steps=STEPS)


def pulled(name: str, levers: Levers) -> Tiny:
    """A tiny pipeline with its levers pulled; offloaded to the CPU itself, as far as that goes."""
    tiny = build(name)
    place(tiny.pipeline, "cpu", dataclasses.replace(levers, offload="none", offload_blocks=1))
    if levers.offload != "none":
        placement.bring(tiny.pipeline, "cpu", levers)
    return tiny


def difference(name: str, levers: Levers) -> int:
    """The largest, in levels of 255."""
    return int(np.abs(frames_of(pulled(name, levers), steps=STEPS) - plain(name)).max())


@BOTH
@pytest.mark.parametrize("offload", ["model", "block", "leaf"])
def test_offloading_changes_nothing(name: str, offload: Any) -> None:
    assert difference(name, Levers(offload=offload)) == 0


@pytest.mark.parametrize("failing", ["encoder", "transformer", "decoder"])
def test_a_call_that_fails_leaves_no_module_on_the_accelerator(
    failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the smaller batch that follows would find less room than the one that failed."""
    tiny, freed = pulled(TRANSFORMER, Levers(offload="model")), []
    plain_free = tiny.pipeline.maybe_free_model_hooks

    def free() -> None:
        freed.append(len(tiny.pipeline._all_hooks))
        plain_free()

    def too_large(*_: Any, **__: Any) -> None:
        freed.clear()
        raise torch.OutOfMemoryError("too large")

    monkeypatch.setattr(tiny.pipeline, "maybe_free_model_hooks", free)
    part = getattr(tiny.pipeline, failing, None) or getattr(tiny.pipeline.vae, failing)
    part.register_forward_pre_hook(too_large)
    with pytest.raises(torch.OutOfMemoryError):
        frames_of(tiny, steps=STEPS)
    assert len(freed) == 1
    assert freed[0] > 0


def test_layers_that_two_parts_share_cannot_be_taken_away_one_by_one() -> None:
    with pytest.raises(UnsupportedError, match=r"PIAPipeline cannot .*'sequential'.*take another"):
        placement.bring(build("pia").pipeline, "cpu", Levers(offload="sequential"))


@BOTH
@pytest.mark.parametrize("offload", ["block", "leaf"])
def test_every_group_is_brought_before_it_computes(
    name: str, offload: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of a group that is away are no numbers, so one that is used there would show."""
    away: dict[int, torch.Tensor] = {}

    def weights(group: Any) -> list[torch.Tensor]:
        inside = [w for m in group.modules for w in (*m.parameters(), *m.buffers())]
        return [w for w in (*inside, *group.parameters, *group.buffers) if w.is_floating_point()]

    def offload_(group: Any) -> None:
        for weight in weights(group):
            if id(weight) not in away:
                away[id(weight)] = weight.data
                weight.data = torch.full_like(weight.data, torch.nan)

    def onload_(group: Any) -> None:
        for weight in weights(group):
            weight.data = away.pop(id(weight), weight.data)

    monkeypatch.setattr(group_offloading.ModuleGroup, "offload_", offload_)
    monkeypatch.setattr(group_offloading.ModuleGroup, "onload_", onload_)
    tiny = pulled(name, Levers(offload=offload))
    parts = [part for part in tiny.pipeline.components.values() if hasattr(part, "parameters")]
    everything = {id(weight) for part in parts for weight in part.parameters()}
    for _ in range(2):
        assert everything <= set(away)
        assert np.abs(frames_of(tiny, steps=STEPS) - plain(name)).max() == 0


def test_groups_hold_as_many_blocks_as_asked_for() -> None:
    tiny = build_deep("wan21", blocks=4)
    placement.bring(tiny.pipeline, "cpu", Levers(offload="block", offload_blocks=2))
    groups = {
        id(block._diffusers_hook.get_hook("group_offloading").group)
        for block in tiny.pipeline.transformer.blocks
    }
    assert len(groups) == 2


def test_an_abandoned_plan_leaves_offloaded_models_ready() -> None:
    """The aborted call ran an image encoder: it goes back, and all hooks are as before."""
    tiny = pulled("wan21", Levers(offload="model"))
    before = len(tiny.pipeline._all_hooks)
    parts = (tiny.pipeline.image_encoder, tiny.pipeline.transformer, tiny.pipeline.vae)
    hooks = [part._hf_hook for part in parts]
    runner_of(tiny.pipeline, tiny.call, STEPS).plan(Batch([picture(1)], ["the sea"], [1]))
    assert len(tiny.pipeline._all_hooks) == before
    assert all(part._hf_hook is not hook for part, hook in zip(parts, hooks, strict=True))
    assert np.array_equal(frames_of(tiny, steps=STEPS), plain("wan21"))


@BOTH
@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_weights_in_8_bits_show(name: str, dtype: Any) -> None:
    levers = Levers(storage_dtype=dtype)
    assert difference(name, levers) > 1
    tiny = pulled(name, levers)
    denoiser = placement.denoisers_of(tiny.pipeline)[0]
    stored = {weight.dtype for weight in denoiser.parameters()}
    assert stored == {torch.float32, getattr(torch, dtype)}
    assert denoiser.dtype == torch.float32  # what it computes in
    once = frames_of(tiny, steps=STEPS)
    assert {weight.dtype for weight in denoiser.parameters()} == stored
    assert np.array_equal(frames_of(tiny, steps=STEPS), once)


def test_weights_in_8_bits_can_be_offloaded_by_groups() -> None:
    stored, both = Levers(storage_dtype="float8_e4m3fn"), None
    both = dataclasses.replace(stored, offload="leaf")
    one, other = (frames_of(pulled("wan21", levers), steps=STEPS) for levers in (stored, both))
    assert np.array_equal(one, other)


def tiled(name: str, side: int) -> Tiny:
    """A pipeline with tiles smaller than its pictures (the released ones are 256 px and more)."""
    tiny = pulled(name, Levers(vae_tiling=True))
    vae = tiny.pipeline.vae
    assert vae.use_tiling
    if name == "i2vgenxl":
        vae.tile_sample_min_size = side
        vae.tile_latent_min_size = side // tiny.pipeline.vae_scale_factor
    else:
        vae.tile_sample_min_height = vae.tile_sample_min_width = side
        vae.tile_sample_stride_height = vae.tile_sample_stride_width = side // 2
    return tiny


@pytest.mark.parametrize("name", ["i2vgenxl", TRANSFORMER])
def test_tiles_show_only_in_pictures_larger_than_one(name: str) -> None:
    assert np.abs(frames_of(tiled(name, 64), steps=STEPS) - plain(name)).max() == 0
    assert np.abs(frames_of(tiled(name, 16), steps=STEPS) - plain(name)).max() > 1


def test_attention_is_computed_by_the_chosen_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    of_process = attention_dispatch._AttentionBackendRegistry._active_backend
    calls: list[str] = []
    for backend in ("_native_math", "_native_flash"):
        levers = Levers(attention=backend)  # type: ignore[arg-type]
        tiny = pulled("wan21", levers)
        assert attention.switched(tiny.pipeline.transformer, backend) == 2
        registered = attention_dispatch._AttentionBackendRegistry._backends
        kind = attention_dispatch.AttentionBackendName(backend)

        def counted(
            *args: Any, _own: Any = registered[kind], _name: str = backend, **kw: Any
        ) -> Any:
            calls.append(_name)
            return _own(*args, **kw)

        monkeypatch.setitem(registered, kind, counted)
        assert np.abs(frames_of(tiny, steps=STEPS) - plain("wan21")).max() <= 1
    assert set(calls) == {"_native_math", "_native_flash"}
    # The choice is the model's: proxies and others of the process keep theirs.
    assert attention_dispatch._AttentionBackendRegistry._active_backend == of_process


@pytest.mark.parametrize("name", ["animate_anything", "svd", "sparsectrl", "cogvideox"])
def test_attention_that_cannot_be_switched_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedError, match=r"no attention of .* can be switched.*leave it out"):
        place(build(name).pipeline, "cpu", Levers(attention="_native_math"))


def test_a_backend_that_takes_no_mask_is_refused_where_one_is_passed() -> None:
    with pytest.raises(UnsupportedError, match=r"_native_flash.* with a mask .*LTXVideoTransf"):
        place(build("ltx").pipeline, "cpu", Levers(attention="_native_flash"))


@pytest.mark.parametrize(
    ("levers", "message"),
    [
        (Levers(attention="flash"), "attention 'flash' computes on CUDA devices only"),
        (Levers(quantised_attention="sage"), "attention 'sage' computes on CUDA devices only"),
        (Levers(attention="_native_cudnn"), "'_native_cudnn' computes on CUDA devices only"),
    ],
)
def test_backends_of_a_gpu_are_refused_on_a_cpu(levers: Levers, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        place(build("wan21").pipeline, "cpu", levers)


@pytest.mark.parametrize(
    ("levers", "package"),
    [
        (Levers(attention="flash"), "flash-attn"),
        (Levers(attention="xformers"), "xformers"),
        (Levers(quantised_attention="sage"), "sageattention"),
    ],
)
def test_a_missing_package_is_named_with_how_to_install_it(levers: Levers, package: str) -> None:
    with pytest.raises(UnsupportedError, match=f"is missing here; .*pip install {package}"):
        attention.check(levers)


@pytest.mark.parametrize(
    ("name", "levers", "message"),
    [
        ("wan21", Levers(vae_slicing=True), "would do nothing; take vae_tiling"),
        ("i2vgenxl", Levers(vae_slicing=True), "would do nothing; take vae_tiling"),
        ("svd", Levers(vae_slicing=True), "TemporalDecoder cannot .*decode_chunk_size of its call"),
        ("svd", Levers(vae_tiling=True), "TemporalDecoder knows no tiles.*decode_chunk_size"),
        ("preview", Levers(vae_tiling=True), "PatchCodec knows no tiles"),
        ("preview", Levers(storage_dtype="float8_e4m3fn"), "no network, so storage_dtype"),
        ("preview", Levers(step_cache=StepCache("pab")), "no network, so step_cache is"),
        ("preview", Levers(attention="_native_math"), "no network, so attention is"),
        ("svd", Levers(compile="blocks"), "no repeated blocks of UNetSpatio.*compile: true"),
        ("cogvideox", Levers(compile="blocks"), "no repeated blocks of CogVideoX.*compile: true"),
    ],
)
def test_what_would_do_nothing_is_refused(name: str, levers: Levers, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        place(build(name).pipeline, "cpu", levers)


def test_the_chunk_of_svds_decoder_shows() -> None:
    """That is why it is an option of the call, in the keys, and not a lever beside them."""
    tiny = build("svd")
    at_once, by_two = (frames_of(tiny, steps=2, decode_chunk_size=size) for size in (4, 2))
    assert np.abs(at_once - by_two).max() > 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"offload": "leaf", "compile": True}, "takes layers apart that compile puts together"),
        ({"offload": "block", "compile": "blocks"}, "take offload 'model', or leave compile out"),
        ({"offload": "model", "offload_stream": True}, "offload_stream fetches groups ahead"),
        ({"offload_blocks": 2}, "offload_blocks counts the blocks of offload 'block'"),
        (
            {"offload": "block", "offload_stream": True, "offload_blocks": 2},
            "leave offload_blocks at 1",
        ),
        (
            {"offload": "leaf", "offload_stream": True, "vae_tiling": True},
            "leave offload_stream out",
        ),
        (
            {"offload": "sequential", "storage_dtype": "float8_e4m3fn"},
            "take offload 'model', 'block' or 'leaf'",
        ),
        ({"offload": "sequential", "step_cache": StepCache("pab")}, "wrap the same layers"),
        ({"offload": "model", "step_cache": StepCache("faster")}, "wrap the same calls"),
        ({"compile": True, "step_cache": StepCache("pab")}, "changes that from step to step"),
        ({"compile": True, "storage_dtype": "float8_e4m3fn"}, "would trace the casts"),
        ({"attention": "flash", "quantised_attention": "sage"}, "exclude each other"),
    ],
)
def test_what_cannot_go_together_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        Levers(**given)


@pytest.mark.slow
def test_blocks_are_compiled_once_for_all_stages_and_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Traced and guarded as torch.compile does, but run as it is: in seconds."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    tiny = build_deep("ltx")
    expected = frames_of(tiny, steps=STEPS)
    tiny.pipeline.transformer.compile_repeated_blocks = functools.partial(
        tiny.pipeline.transformer.compile_repeated_blocks, backend="eager"
    )
    place(tiny.pipeline, "cpu", Levers(compile="blocks"))
    assert np.abs(frames_of(tiny, steps=STEPS) - expected).max() <= 1
    counters = torch._dynamo.utils.counters
    graphs = counters["stats"]["unique_graphs"]
    assert graphs <= 3  # both paths, one, any batch: all blocks share them
    assert not counters["graph_break"]
    with torch._dynamo.config.patch(error_on_recompile=True):
        frames_of(tiny, seeds=(3,), steps=STEPS)
        frames_of(tiny, seeds=(1, 2, 3), steps=STEPS + 2)
    assert counters["stats"]["unique_graphs"] == graphs
