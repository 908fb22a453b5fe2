"""What cards say of noise levels, sizes and frames, against schedulers and pipelines themselves."""

import math
from typing import Any

import numpy as np
import pytest
from family_calls import tiny_of
from tiny_pipelines import TINY_OF_CARD

from epa_core.card_data import MODELS
from epa_core.cards import load_model
from epa_core.families import family_of
from epa_core.model_cards.card import PAPER_KAPPA0, ModelCard, Schedule
from epa_core.noise_levels import levels, nearest

STEPS = 25
NEURAL = [name for name, card in MODELS.items() if card.schedule and card.weights]


def scheduled(card: ModelCard) -> Any:
    """The scheduler after what the pipeline's call does to it at the card's size."""
    scheduler = tiny_of(TINY_OF_CARD[card.name]).pipeline.scheduler
    scheduler = type(scheduler).from_config(scheduler.config)
    if card.family in ("ltx", "ltx-2"):
        tokens = card.area // 32**2 * ((card.num_frames - 1) // 8 + 1)
        config = scheduler.config
        slope = (config.max_shift - config.base_shift) / (
            config.max_image_seq_len - config.base_image_seq_len
        )
        mu = config.base_shift + slope * (tokens - config.base_image_seq_len)
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / STEPS, STEPS), mu=mu)
    elif card.family.startswith("hunyuanvideo"):
        if card.family == "hunyuanvideo1.5":  # released with 5 for 480p; the tiny one has 7
            scheduler.register_to_config(shift=5.0)
            scheduler.set_shift(5.0)
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 0.0, STEPS + 1)[:-1])
    elif card.family == "motif-video":
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / STEPS, STEPS))
    elif card.family == "easyanimate":
        scheduler.set_timesteps(STEPS, mu=1)
    else:
        scheduler.set_timesteps(STEPS)
    return scheduler


def measured(card: ModelCard) -> Schedule:
    native = levels(scheduled(card))
    t0 = nearest(native, PAPER_KAPPA0) if native[0].kappa > 30 else 0
    return Schedule(
        first=native[0].kappa, last=native[15].kappa, t0=t0 + 1, t0_kappa=native[t0].kappa
    )


@pytest.mark.parametrize("name", NEURAL)
def test_the_schedule_on_a_card_is_the_schedulers_own(name: str) -> None:
    said, found = MODELS[name].schedule, measured(MODELS[name])
    assert said is not None
    assert said.t0 == found.t0
    for one, other in (
        (said.first, found.first),
        (said.last, found.last),
        (said.t0_kappa, found.t0_kappa),
    ):
        assert one == other if math.isinf(other) else one == pytest.approx(other, rel=0.01)


def test_the_previews_schedule_is_the_papers() -> None:
    scheduler = load_model("preview").scheduler
    scheduler.set_timesteps(STEPS)
    native, said = levels(scheduler), MODELS["preview"].schedule
    assert said is not None
    assert (native[0].kappa, native[15].kappa) == pytest.approx((said.first, said.last), rel=0.01)


@pytest.mark.parametrize("name", [name for name in MODELS if name in TINY_OF_CARD])
def test_frames_on_a_card_are_those_its_pipeline_takes(name: str) -> None:
    card = MODELS[name]
    pipeline = tiny_of(TINY_OF_CARD[name]).pipeline
    # Tiny VAEs of LTX-2 and HunyuanVideo 1.5 compress time less than the released ones.
    step = family_of(pipeline).frame_multiple(pipeline)
    assert card.frame_multiple % step == 0
    assert (card.num_frames - 1) % card.frame_multiple == 0


@pytest.mark.parametrize("name", MODELS)
def test_terms_are_said_wherever_there_are_some(name: str) -> None:
    card = MODELS[name]
    if card.commercial in ("conditional", "no"):
        assert card.condition


def test_sizes_on_cards_are_those_counted_on_the_released_configurations() -> None:
    """Billions of parameters."""
    counted = {
        "i2vgen-xl": 1.42,
        "svd": 1.52,
        "cogvideox1.5-5b-i2v": 5.57,
        "wan2.1-i2v-480p": 16.39,
        "wan2.2-i2v-a14b": 14.29,
        "wan2.2-ti2v-5b": 5.00,
        "ltx-video": 1.92,
        "ltx-2": 18.88,
        "hunyuanvideo-i2v": 12.81,
        "wan2.1-vace-14b": 17.34,
        "easyanimate5.1-12b-inp": 11.80,
        "hunyuanvideo1.5-i2v-480p": 8.33,
    }
    for name, billions in counted.items():
        parts = MODELS[name].parts
        assert parts is not None
        assert parts.denoisers[0] == pytest.approx(billions, rel=0.01), name


# Peaks of the activations of one evaluation in two bytes a number, counted on shapes: GiB, height,
# width, latent frames; and the latent frames at the size of the card, where they are scaled.
COUNTED = {
    "wan2.1-i2v-480p": (3.5, 480, 832, 21, 21),
    "wan2.1-i2v-720p": (3.5, 480, 832, 21, 21),
    "wan2.2-i2v-a14b": (3.5, 480, 832, 21, 21),
    "skyreels-v2-i2v-720p": (3.5, 480, 832, 21, 25),
    "wan2.2-ti2v-5b": (5.1, 704, 1280, 31, 31),
    "cogvideox-5b-i2v": (2.65, 480, 720, 13, 13),
    "cogvideox1.5-5b-i2v": (2.65, 480, 720, 13, 11),  # patches of two frames
    "ltx-video": (1.6, 512, 704, 21, 21),
    "hunyuanvideo-i2v": (0.55, 512, 512, 5, 33),
    "svd": (7.7, 576, 1024, 25, 14),
    "svd-xt": (7.7, 576, 1024, 25, 25),
    "i2vgen-xl": (2.59, 512, 512, 16, 16),
    "animate-anything": (2.59, 512, 512, 16, 16),
    "animatediff-sparsectrl": (2.04, 512, 512, 16, 16),
    "pia": (2.04, 512, 512, 16, 16),
}


@pytest.mark.parametrize("name", COUNTED)
def test_the_allowance_for_activations_is_what_was_counted_scaled_by_tokens(name: str) -> None:
    card, (gib, height, width, counted, frames) = MODELS[name], COUNTED[name]
    assert card.parts is not None
    scaled = gib * card.area * frames / (height * width * counted)
    assert card.parts.running == pytest.approx(scaled, rel=0.035)
    if name != "cogvideox1.5-5b-i2v":
        step = card.frame_multiple
        assert frames == ((card.num_frames - 1) // step + 1 if step > 1 else card.num_frames)
