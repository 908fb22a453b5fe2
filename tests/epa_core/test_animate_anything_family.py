"""AnimateAnything in the method: its latents, its frames, what each painting brings."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_animate_anything import write_released_checkpoint
from tiny_pipelines import picture

from epa_core.awakening import (
    CallSettings,
    EPASettings,
    animate_latents,
    awaken,
    check_call,
    decode_latents,
    distill_latents,
    static_latents,
    unread,
)
from epa_core.cards import load_model, model_card
from epa_core.errors import ItemError, UnsupportedError
from epa_core.families import family_of

CALL = CallSettings(16, 32, 4)
SETTINGS = EPASettings(num_inference_steps=3)
PAINTINGS = [picture(seed).resize((32, 16)) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = write_released_checkpoint(tmp_path_factory.mktemp("released"))
    return load_model("animate-anything", source=str(folder))


def test_the_card_agrees_with_the_family(pipeline: Any) -> None:
    card, family = model_card("animate-anything"), family_of(pipeline)
    assert (card.area, card.multiple) == (family.area(pipeline), family.size_multiple(pipeline))
    assert (card.num_frames, card.fps) == (family.num_frames(pipeline), 8)
    assert len(card.per_work) == len(family.per_painting) == 3


def test_static_latents_are_the_condition_once_per_frame(pipeline: Any) -> None:
    (static,) = static_latents(pipeline, PAINTINGS[:1], CALL)
    condition = pipeline.encode_images(PAINTINGS[:1], (32, 16))[0]
    assert torch.equal(static, condition.repeat(1, 4, 1, 1))


def test_frames_are_cut_to_whole_levels(pipeline: Any) -> None:
    latents = torch.randn(4, 4, 2, 4, generator=torch.Generator().manual_seed(1))
    (frames,) = decode_latents(pipeline, [latents], CALL)
    unit = pipeline.decode_latents(latents[None])[0].permute(1, 2, 3, 0) * 0.5 + 0.5
    exact = unit.clamp(0, 1).numpy() * 255
    assert np.array_equal(frames, np.floor(exact))
    assert (np.round(exact) != frames).mean() > 0.3


@pytest.mark.parametrize("variant", ["baseline", "V", "S", "V+U", "V+S"])
def test_each_painting_brings_its_own_arguments(pipeline: Any, variant: Any) -> None:
    left = Image.new("L", (32, 16))
    left.paste(255, (0, 0, 16, 16))
    extras: list[dict[str, Any]] = [
        {"mask_image": left, "motion_strength": 3.0},
        {"negative_prompt": "boat"},
        {},
    ]
    prompts = ["the sea", "clouds drift", "waves roll"]
    settings = EPASettings(variant=variant, num_inference_steps=3)
    proxies = PAINTINGS[::-1]
    size = {"height": 16, "width": 32, "num_frames": 4, "settings": settings}
    together = awaken(
        pipeline, PAINTINGS, proxies, prompt=prompts, seed=[1, 2, 3], extras=extras, **size
    )
    for index in range(3):
        given = {"prompt": prompts[index], "seed": index + 1, **size}
        alone = awaken(pipeline, PAINTINGS[index], proxies[index], **given, extras=[extras[index]])
        assert np.abs(together[index].astype(int) - alone).max() <= 2
        bare = awaken(pipeline, PAINTINGS[index], proxies[index], **given)
        assert (np.abs(bare.astype(int) - alone).max() > 2) == bool(extras[index])


def test_both_paths_share_the_painting_s_arguments(pipeline: Any) -> None:
    """The proxy's path too is told the mask; it is conditioned on its own image."""
    seen: list[dict[str, Any]] = []
    hook = pipeline.unet.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs), with_kwargs=True
    )
    black = Image.new("L", (32, 16))
    extras = [{"mask_image": black, "motion_strength": 3.0}] * 2
    images, prompts = PAINTINGS[:2], ["", ""]
    clips = distill_latents(pipeline, images, prompts, [1, 2], SETTINGS, CALL, extras=extras)
    condition = pipeline.encode_images(images, (32, 16))
    assert torch.equal(seen[0]["condition_latent"], torch.cat([condition, condition]))
    assert not seen[0]["mask"].any()
    assert seen[0]["motion"].tolist() == [3, 3, 3, 3]
    seen.clear()
    animate_latents(
        pipeline, images[:1], [""], [1], clips[:1], clips[1:], SETTINGS, CALL, extras=extras[:1]
    )
    assert torch.equal(seen[0]["condition_latent"], torch.cat([condition[:1], condition[:1]]))
    hook.remove()


def test_a_clip_of_one_frame_is_refused(pipeline: Any) -> None:
    with pytest.raises(
        UnsupportedError, match=r"num_frames is 1; AnimateAnything.* takes 2 or more"
    ):
        static_latents(pipeline, PAINTINGS[:1], CallSettings(16, 32, 1))
    with pytest.raises(UnsupportedError, match=r"width is 36; .* multiples of 8"):
        static_latents(pipeline, PAINTINGS[:1], CallSettings(16, 36, 4))
    (two,) = static_latents(pipeline, PAINTINGS[:1], CallSettings(8, 24, 2))
    assert two.shape == (4, 2, 1, 3)


@pytest.mark.parametrize("length", [20, 10**30])  # as it is where a tokenizer states none
def test_what_the_call_does_not_read_is_told(
    pipeline: Any, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.tokenizer, "model_max_length", length)
    prompt = "the waves roll " * 40 + "boat"
    rest = unread(pipeline, prompt)
    assert rest.endswith("boat")
    read = prompt.removesuffix(rest).strip()
    assert unread(pipeline, read) == ""
    whole, cut, shorter = (
        pipeline.encode_texts([text]) for text in (prompt, read, read.rpartition(" ")[0])
    )
    assert torch.equal(whole, cut)
    assert not torch.equal(whole, shorter)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Weights trained without masks and motion strengths."""
    folder = tmp_path_factory.mktemp("bare")
    write_released_checkpoint(folder, motion_mask=False, motion_strength=False)
    return load_model("animate-anything", source=str(folder))


MASK = Image.new("L", (32, 16), 255)
NEITHER: dict[str, tuple[dict[str, Any], str]] = {
    "mask": ({"mask_image": MASK}, "mask_image was given, but .* trained without masks"),
    "motion": ({"motion_strength": 3}, "motion_strength 3 was given, but .* trained without it"),
}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "negative": ({"motion_strength": -1}, "motion_strength is -1; use a number of at least 0"),
    "words": ({"motion_strength": "a lot"}, "motion_strength is 'a lot'; use a number"),
    "truth": ({"motion_strength": True}, "motion_strength is True; use a number"),
    "list": ({"motion_strength": [1, 2]}, r"motion_strength is \[1, 2\]; use a number"),
    "file": ({"mask_image": "x.png"}, r"mask_image is 'x\.png', which is no picture"),
}


@pytest.mark.parametrize("what", [*NEITHER, *WRONG])
def test_options_that_the_weights_cannot_take_are_refused(
    pipeline: Any, bare: Any, what: str
) -> None:
    options, message = (NEITHER | WRONG)[what]
    for model in (pipeline, bare) if what in WRONG else (bare,):
        with pytest.raises(UnsupportedError, match=message):
            check_call(model, options, 4, 8)
        with pytest.raises(UnsupportedError, match=message):
            static_latents(model, PAINTINGS[:1], CallSettings(16, 32, 4, options=options))
    if what in NEITHER:
        check_call(pipeline, options, 4, 8)


@pytest.mark.parametrize("what", [*NEITHER, "negative"])
@pytest.mark.parametrize("variant", ["baseline", "V"])
def test_a_painting_s_own_that_the_weights_cannot_take_fails_it_alone(
    bare: Any, what: str, variant: Any
) -> None:
    own, message = (NEITHER | WRONG)[what]
    given: dict[str, Any] = {
        "prompt": "", "height": 16, "width": 32, "num_frames": 4,
        "settings": EPASettings(variant=variant, num_inference_steps=2),
    }  # fmt: skip
    with pytest.raises(ItemError, match=message) as raised:
        awaken(bare, PAINTINGS[:2], **given, extras=[{}, own])
    assert raised.value.code == "unsupported_condition"
    default = {"motion_strength": 8.0, "mask_image": None}
    awaken(bare, PAINTINGS[:2], **given, extras=[{}, default])
