"""AnimateAnything's denoiser against diffusers' own UNet, and its weights against the released."""

import functools
from hashlib import sha256
from typing import Any

import pytest
import torch
from diffusers import UNet3DConditionModel
from diffusers.models.resnet import TemporalConvLayer
from tiny_animate_anything import UNET

from epa_core.models.animate_anything_unet import MaskedMotionUNet3D

ONLY_RELEASED = {"conv_in2.weight", "conv_in2.bias"} | {
    f"motion_embedding.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")
}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@functools.cache
def tiny(**changes: Any) -> MaskedMotionUNet3D:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        unet = MaskedMotionUNet3D(**{**UNET, **changes}).eval()
        for parameter in unet.parameters():  # zeros would hide what comes before them
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.05)
    return unet


def inputs(batch: int = 2, size: tuple[int, int] = (3, 5)) -> dict[str, Any]:
    """Sizes that are halved unevenly, so that the way up needs the sizes of the way down."""
    return {
        "sample": random(batch, 4, 3, *size, seed=1),
        "timestep": torch.tensor(700),
        "encoder_hidden_states": random(batch, 7, 16, seed=2),
        "condition_latent": random(batch, 4, 1, *size, seed=3),
        "mask": torch.rand(1, 1, 1, *size, generator=torch.Generator().manual_seed(4)),
        "motion": torch.tensor([8.0]),
    }


@torch.no_grad()
def run(unet: MaskedMotionUNet3D, **given: Any) -> torch.Tensor:
    return unet(**given).sample


def test_the_released_keys_and_shapes() -> None:
    with torch.device("meta"):
        unet = MaskedMotionUNet3D()
        stock = UNet3DConditionModel(time_cond_proj_dim=320)
    shapes = {key: tuple(value.shape) for key, value in unet.state_dict().items()}
    lines = sorted(f"{key} {'x'.join(map(str, shape))}" for key, shape in shapes.items())
    assert len(lines) == 1487
    assert sum(parameter.numel() for parameter in unet.parameters()) == 1413401540
    digest = "197ce3a6476bb58ef328800467a234a0d8bb4640e4e7aac0467329b297af1275"
    assert sha256("\n".join(lines).encode()).hexdigest() == digest
    assert {key for key in shapes if key not in stock.state_dict()} == ONLY_RELEASED


@pytest.mark.parametrize("motion", [None, 8.0])
@pytest.mark.parametrize("masked", [True, False])
def test_equals_the_stock_network_on_the_same_frames(masked: bool, motion: float | None) -> None:
    """The three additions, made by hand around diffusers' own forward."""
    unet, given = tiny(), inputs()
    settings = {key: value for key, value in UNET.items() if not key.startswith("motion")}
    stock = UNet3DConditionModel(**{**settings, "time_cond_proj_dim": 64}).eval()
    stock.load_state_dict(unet.state_dict(), strict=False)
    stock.transformer_in.norm.num_groups = 32
    for layer in stock.modules():
        if isinstance(layer, TemporalConvLayer):
            for block in (layer.conv1, layer.conv2, layer.conv3, layer.conv4):
                block[0].num_groups = 32
    frames = torch.cat([given["condition_latent"], given["sample"]], dim=2)
    if masked:
        stock.conv_in = unet.conv_in2
        frames = torch.cat([given["mask"].expand(2, 1, 4, 3, 5), frames], dim=1)
    told = None if motion is None else stock.time_proj(torch.full((2,), motion))
    with torch.no_grad():
        expected = stock(
            frames, given["timestep"], given["encoder_hidden_states"], timestep_cond=told
        ).sample[:, :, 1:]
    changes = {"mask": given["mask"] if masked else None, "motion": motion}
    assert torch.equal(run(unet, **{**given, **changes}), expected)


@pytest.mark.parametrize("name", ["timestep", "condition_latent", "mask", "motion"])
def test_every_condition_matters(name: str) -> None:
    given = inputs()
    changed = {**given, name: given[name] * 0.5}
    assert (run(tiny(), **changed) - run(tiny(), **given)).abs().max() > 1e-3
    if name in ("mask", "motion"):  # none is neither ones nor zero
        for instead in (torch.ones_like(given[name]), torch.zeros_like(given[name])):
            difference = run(tiny(), **{**given, name: None}) - run(
                tiny(), **{**given, name: instead}
            )
            assert difference.abs().max() > 1e-3


def test_masks_times_and_motions_of_a_batch_are_those_of_its_clips() -> None:
    """Two masks serve four clips in the order m0 m1 m0 m1: two paintings, two halves."""
    given = inputs(batch=4)
    given["mask"] = torch.stack([torch.ones(1, 1, 3, 5), torch.zeros(1, 1, 3, 5)])
    given["timestep"] = torch.tensor([900, 700, 500, 300])
    given["motion"] = torch.tensor([2.0, 4.0, 6.0, 8.0])
    together = run(tiny(), **given)
    for index in range(4):
        alone = {name: value[index : index + 1] for name, value in given.items()}
        alone["mask"] = given["mask"][index % 2 : index % 2 + 1]
        torch.testing.assert_close(together[index : index + 1], run(tiny(), **alone))


def test_the_motion_embedding_is_dead_weight() -> None:
    unet, given = tiny(sample_size=8), inputs()
    before = run(unet, **given)
    with torch.no_grad():
        unet.motion_embedding[0].weight.zero_()
    assert torch.equal(run(unet, **given), before)


def test_layers_over_time_have_32_groups_whatever_the_configuration_says() -> None:
    unet = tiny()
    assert unet.config.norm_num_groups == 8
    assert unet.conv_norm_out.num_groups == 8
    assert {norm.num_groups for norm in unet._temporal_norms()} == {32}
    layers = [layer for layer in unet.modules() if isinstance(layer, TemporalConvLayer)]
    assert len(unet._temporal_norms()) == 1 + 4 * len(layers) > 20


def test_half_precision_in_and_out() -> None:
    unet = tiny(sample_size=16).to(torch.bfloat16)
    given = {
        name: value.bfloat16() if value.ndim > 1 else value for name, value in inputs().items()
    }
    output = run(unet, **given)
    assert output.dtype == torch.bfloat16
    assert output.isfinite().all()


def test_masks_that_do_not_fit_are_refused() -> None:
    given = inputs(batch=3)
    with pytest.raises(ValueError, match="2 masks do not fit 3 clips"):
        run(tiny(), **{**given, "mask": given["mask"].repeat(2, 1, 1, 1, 1)})
    wide = tiny(in_channels=5)
    assert run(wide, **given).shape == given["sample"].shape
    with pytest.raises(ValueError, match="conv_in reads 5 channels: these weights need a mask"):
        run(wide, **{**given, "mask": None})


def test_widths_and_time_conditions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"block_out_channels are \(64, 48\); .*multiples of 32"):
        MaskedMotionUNet3D(**{**UNET, "block_out_channels": (64, 48)})
    with pytest.raises(ValueError, match="time_cond_proj_dim is 7, not 64"):
        MaskedMotionUNet3D(**{**UNET, "time_cond_proj_dim": 7})
