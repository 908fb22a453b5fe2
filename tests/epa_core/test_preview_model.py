"""The preview model: its codec, its denoiser, its pipeline."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from epa_core.models.codec import PatchCodec
from epa_core.models.ddim import LeanDDIMScheduler
from epa_core.models.preview import BETAS, GaussianDenoiser, PreviewPipeline, build_preview

PAINTINGS = Path(__file__).parents[1] / "data" / "paintings"
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pipeline() -> PreviewPipeline:
    return build_preview()


def painting(name: str = "starry-night.jpg", size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.open(PAINTINGS / name).convert("RGB").resize(size, Image.Resampling.LANCZOS)


def noise(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99)
)
def test_codec_inverts_bit_for_bit(b: int, f: int, h: int, w: int, seed: int) -> None:
    pixels = torch.rand(b, 3, f, 8 * h, 8 * w, generator=noise(seed)[0]) * 2 - 1
    codec = PatchCodec()
    latent = codec.encode(pixels).latent_dist.mode()
    assert latent.shape == (b, 192, f, h, w)
    assert torch.equal(codec.decode(latent).sample, pixels)


def test_codec_keeps_a_patch_in_one_latent_pixel() -> None:
    pixels = torch.zeros(1, 3, 1, 16, 24)
    pixels[..., 8:16, 16:24] = 1
    latent = PatchCodec().encode(pixels).latent_dist.sample()
    assert latent[..., 1, 2].min() == 1
    assert latent.sum() == 192


def test_codec_refuses_sizes_between_patches() -> None:
    with pytest.raises(ValueError, match="20x16 is not a multiple of 8"):
        PatchCodec().encode(torch.zeros(1, 3, 1, 16, 20))


@pytest.mark.parametrize("timestep", [0, 1, 250, 999])
def test_denoiser_is_the_posterior_mean_of_a_gaussian(timestep: int) -> None:
    tau = 0.3
    denoiser = GaussianDenoiser(tau=tau)
    bar = float(DDIMScheduler(**BETAS).alphas_cumprod[timestep])
    a, s = bar**0.5, (1 - bar) ** 0.5
    # Simulate: E[eps | z_t] is linear in z_t; its regression over many draws is the formula.
    generator = noise(0)[0]
    mu = 0.4
    z = mu + tau * torch.randn(400_000, generator=generator, dtype=torch.float64)
    eps = torch.randn(400_000, generator=generator, dtype=torch.float64)
    z_t = a * z + s * eps
    slope = torch.cov(torch.stack([eps, z_t]))[0, 1] / z_t.var()
    predicted = denoiser(torch.tensor([0.0, 1.0]), timestep, torch.tensor([mu, mu]))
    assert float(predicted[1] - predicted[0]) == pytest.approx(float(slope), rel=0.02, abs=0.01)
    assert float(denoiser(torch.tensor([a * mu]), timestep, torch.tensor([mu]))) == pytest.approx(
        0, abs=1e-6
    )


def test_the_lean_step_is_the_stock_step() -> None:
    options = {**BETAS, "clip_sample": False, "timestep_spacing": "trailing"}
    stock, lean = DDIMScheduler(**options), LeanDDIMScheduler(**options)
    for scheduler in (stock, lean):
        scheduler.set_timesteps(25)
    generator = noise(3)[0]
    for t in stock.timesteps:
        eps, z = torch.randn(2, 64, generator=generator, dtype=torch.float64)
        # The stock step keeps its coefficients in float32.
        expected = pytest.approx(
            stock.step(eps, t, z, return_dict=False)[0].numpy(), rel=1e-5, abs=1e-6
        )
        kept = lean.step(eps, t, z).prev_sample
        assert kept.numpy() == expected
        assert lean.step(eps, t, z, return_dict=False)[0].numpy() == expected


def test_noise_begins_at_the_papers_level(pipeline: PreviewPipeline) -> None:
    pipeline.scheduler.set_timesteps(25)
    bar = float(pipeline.scheduler.alphas_cumprod[pipeline.scheduler.timesteps[0]])
    assert ((1 - bar) / bar) ** 0.5 == pytest.approx(14.6, abs=0.05)


def test_first_frame_is_the_painting_and_the_rest_moves(pipeline: PreviewPipeline) -> None:
    image = painting(size=(96, 64))
    frames = pipeline(image, "clouds drift", generator=noise(0)[0]).frames
    assert frames.shape == (1, 16, 64, 96, 3)
    levels = np.asarray(image, np.float32)
    assert np.abs(frames[0, 0] * 255 - levels).mean() < 2
    assert np.abs(frames[0, -1] * 255 - levels).mean() > 5
    still = pipeline(image, "nothing moves", generator=noise(0)[0]).frames
    assert np.abs(still[0] * 255 - levels).mean(axis=(1, 2, 3)).max() < 2


def test_an_item_does_not_depend_on_its_batch(pipeline: PreviewPipeline) -> None:
    images = [painting(), painting("boat.jpg"), painting("shipwreck.jpg")]
    prompts = ["stars swirl", "the boats sail away", "waves crash"]
    together = pipeline(images, prompts, generator=noise(1, 2, 3), output_type="latent").frames
    fresh = build_preview()
    for index, (image, prompt) in enumerate(zip(images, prompts, strict=True)):
        alone = fresh([image], [prompt], generator=noise(index + 1), output_type="latent").frames
        assert torch.equal(alone[0], together[index])


def test_seeds_and_given_latents_are_used(pipeline: PreviewPipeline) -> None:
    call = {"image": painting(), "prompt": "clouds drift", "output_type": "latent"}
    first = pipeline(**call, generator=noise(1)[0]).frames
    assert torch.equal(first, pipeline(**call, generator=noise(1)[0]).frames)
    assert not torch.equal(first, pipeline(**call, generator=noise(2)[0]).frames)
    drawn = torch.randn(1, 192, 16, 6, 8, generator=noise(1)[0])
    kept = drawn.clone()
    assert torch.equal(first, pipeline(**call, latents=drawn).frames)
    assert torch.equal(drawn, kept)


def test_the_cache_of_means_changes_nothing_and_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = build_preview()
    call = {"prompt": "clouds drift", "num_frames": 4, "num_inference_steps": 2}
    first = pipeline(painting(), **call, generator=noise(0)[0]).frames
    assert np.array_equal(first, pipeline(painting(), **call, generator=noise(0)[0]).frames)
    other = pipeline(painting("boat.jpg"), **call, generator=noise(0)[0]).frames
    assert not np.array_equal(first, other)
    assert len(pipeline._means) == 2
    monkeypatch.setattr("epa_core.models.preview.MU_CACHE_BYTES", 1)
    pipeline(painting("boat.jpg", (32, 32)), **call)
    assert len(pipeline._means) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 44}, "64x44 is not a positive multiple of 8"),
        ({"num_frames": 0}, "num_frames is 0"),
        ({"output_type": "mp4"}, "output_type is 'mp4'; use latent, np, pt or pil"),
        ({"prompt": ["a", "b"]}, "1 images were given with 2 prompts"),
        ({"latents": torch.zeros(1, 4, 16, 6, 8)}, r"latents are \(1, 4, 16, 6, 8\), not"),
    ],
)
def test_wrong_calls_say_what_is_wrong(
    pipeline: PreviewPipeline, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pipeline(**{"image": painting(), "prompt": "clouds drift", **change})


def test_output_types(pipeline: PreviewPipeline) -> None:
    call = {"image": painting(size=(66, 50)), "prompt": "clouds drift", "num_frames": 3}
    images = pipeline(**call, num_inference_steps=2, output_type="pil").frames
    assert [len(clip) for clip in images] == [3]
    assert images[0][0].size == (64, 48)  # the next smaller multiple of eight
    (latents,) = pipeline(**call, num_inference_steps=2, output_type="latent", return_dict=False)
    assert latents.shape == (1, 192, 3, 6, 8)


def test_it_saves_and_loads_like_any_pipeline(pipeline: PreviewPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path)
    loaded = PreviewPipeline.from_pretrained(tmp_path)
    call = {"image": painting(), "prompt": "clouds drift", "output_type": "latent"}
    loaded.set_progress_bar_config(disable=True)
    ours = pipeline(**call, generator=noise(5)[0]).frames
    assert torch.equal(ours, loaded(**call, generator=noise(5)[0]).frames)
    assert type(loaded.scheduler) is LeanDDIMScheduler


def test_a_call_is_cheap(pipeline: PreviewPipeline) -> None:
    image = painting(size=(64, 64))
    pipeline(image, "clouds drift")
    costs = []
    for index in range(5):
        pipeline._means.clear()
        start = time.process_time()
        pipeline(image, "clouds drift", generator=noise(index)[0], output_type="latent")
        costs.append(time.process_time() - start)
    assert min(costs) < 0.06
