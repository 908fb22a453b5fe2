"""What `model.options` may hold, said before a model is loaded."""

import inspect
from typing import Any

import pytest

from epa_core.call_options import check_described, check_options
from epa_core.card_data import MODELS
from epa_core.errors import UnsupportedError
from epa_core.model_cards.options import ELSEWHERE
from epa_core.weights import imported

DESCRIBED = [name for name, card in MODELS.items() if card.options is not None]
# Arguments of our own calls that only a program gives.
PROGRAMS = {
    *("self", "latents", "output_type", "return_dict", "first_frame_latents", "base_image"),
    *("prompt_embeds", "negative_prompt_embeds"),
    *("callback_on_step_end", "callback_on_step_end_tensor_inputs"),
}


def test_the_models_of_the_paper_are_described() -> None:
    assert DESCRIBED == ["animate-anything", "consisti2v", "cinemo"]


@pytest.mark.parametrize("name", DESCRIBED)
def test_described_options_are_those_of_the_call_with_its_defaults(name: str) -> None:
    card = MODELS[name]
    assert card.options is not None
    call = inspect.signature(imported(card.pipeline_class).__call__).parameters
    assert set(card.options.known) == set(call) - PROGRAMS - set(ELSEWHERE)
    for option, known in card.options.known.items():
        assert known.default == call[option].default
        assert type(known.default) is type(call[option].default)
        assert known.takes(known.default)
        assert known.meaning


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("consisti2v", {"frame_strid": 3}, "consisti2v takes no 'frame_strid'; did you mean 'frame_st"),
    ("consisti2v", {"zzz": 3}, "consisti2v takes no 'zzz'; it takes negative_prompt, frame_stride"),
    ("consisti2v", {"frame_stride": 0}, "frame_stride is 0; use a whole number of at least 1 and"),
    ("consisti2v", {"frame_stride": [1, 2]}, r"frame_stride is \[1, 2\]; use a whole number"),
    ("consisti2v", {"sample_posterior": 1}, "sample_posterior is 1; use true or false"),
    ("consisti2v", {"frame_init": True}, "frame_init is True; use still, fused, off"),
    ("consisti2v", {"eta": None}, "eta is None; use a number of at least 0 and at most 1"),
    ("consisti2v", {"latents": 1}, "consisti2v takes no 'latents'"),
    ("consisti2v", {"height": 512}, "'height' is none of consisti2v's options; set prepare.area"),
    ("consisti2v", {"guidance_rescale": 0.7, "image_guidance_scale": 2}, "so use one of them"),
    ("cinemo", {"epa_reading": "naive"}, "epa_reading is 'naive'; use absolute, all-frames, re"),
    ("cinemo", {"dct_init": "no"}, "dct_init is 'no'; use true or false"),
    ("cinemo", {"negative_prompt": 3}, "negative_prompt is 3; use a text"),
    ("cinemo", {"base_image": "x.png"}, "cinemo takes no 'base_image'"),
    ("animate-anything", {"motion_strength": "a lot"}, "motion_strength is 'a lot'; use a number"),
    ("animate-anything", {"mask_image": "x.png"}, "options; set the catalog's mask_uri"),
]
STOCK: list[tuple[str, dict[str, Any], str]] = [
    ("svd", {"fps": "fast"}, "fps is 'fast'; use a whole number"),
    ("svd", {"fps": 7.5}, "fps is 7.5; use a whole number"),
    ("svd", {"motion_bucket": 3}, "svd takes no 'motion_bucket'; did you mean 'motion_bucket_id'"),
    ("svd", {"decode_chunk_size": "2"}, "decode_chunk_size is '2'; use a whole number or null"),
    ("svd", {"guidance_scale": 3}, "none of svd's options; set model.guidance_scale"),
    ("preview", {"generator": 3}, "'generator' is none of preview's options; set seed"),
]


@pytest.mark.parametrize(("model", "options", "message"), WRONG + STOCK)
def test_what_a_call_does_not_take_is_refused(
    model: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedError, match=message) as raised:
        check_options(MODELS[model], options)
    assert "\n" not in str(raised.value)
    if MODELS[model].options is not None:
        with pytest.raises(UnsupportedError, match=message):
            check_described(MODELS[model], options)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("consisti2v", {"frame_stride": 5, "frame_init": "fused", "frame_init_filter": "box"}),
        ("consisti2v", {"guidance_rescale": 0.7}),
        ("consisti2v", {"image_guidance_scale": 2.0}),
        ("cinemo", {"motion_strength": None, "epa_reading": "painting-base"}),
        ("animate-anything", {"motion_strength": 3, "negative_prompt": "boat"}),
        ("svd", {"fps": 6, "motion_bucket_id": 200, "decode_chunk_size": 2}),
        ("svd", {"noise_aug_strength": 1, "decode_chunk_size": None}),
        ("ltx-video", {"decode_timestep": 0.05, "guidance_rescale": 0.0}),
    ],
)
def test_what_a_call_takes_passes(model: str, options: dict[str, Any]) -> None:
    check_options(MODELS[model], options)


@pytest.mark.parametrize(
    "model", ["svd", "wan2.1-i2v-480p", "cogvideox1.5-5b-i2v", "i2vgen-xl", "ltx-2"]
)
def test_the_call_s_own_defaults_pass(model: str) -> None:
    """So what is read from a signature is read as its authors meant it."""
    card = MODELS[model]
    call = inspect.signature(imported(card.pipeline_class).__call__).parameters
    plain = {
        name: one.default
        for name, one in call.items()
        if isinstance(one.default, bool | int | float | str) and name not in ELSEWHERE
    }
    plain = {name: value for name, value in plain.items() if name not in PROGRAMS}
    assert plain
    check_options(card, plain)
