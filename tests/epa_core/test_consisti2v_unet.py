"""The denoiser of ConsistI2V at its released size (no memory), and what its layers must do."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from epa_core.models import consisti2v_layers as layers
from epa_core.models.consisti2v_unet import ConsistI2VUNet


@pytest.fixture(scope="module")
def released() -> ConsistI2VUNet:
    """Its defaults are the released configuration."""
    with torch.device("meta"):
        return ConsistI2VUNet()


def test_it_has_the_released_live_weights_and_no_others(released: ConsistI2VUNet) -> None:
    # Of 1,397 released entries and 1,249,975,241 parameters: without 74 dead entries (10,349,760)
    # and 30 tables of frequencies (5,600).
    assert len(released.state_dict()) == 1397 - 74 - 30
    count = sum(parameter.numel() for parameter in released.parameters())
    assert count == 1_249_975_241 - 10_349_760 - 5_600


def test_its_spatial_part_is_the_stock_one(released: ConsistI2VUNet) -> None:
    with torch.device("meta"):
        stock = UNet2DConditionModel(
            cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True
        )
    ours = {key: value.shape for key, value in released.state_dict().items()}
    theirs = {key: value.shape for key, value in stock.state_dict().items()}
    assert len(theirs) == 686
    assert theirs.items() <= ours.items()
    added = ("conv3ds.", "tempo_attns.", "frame_stride_embedding.")
    assert all(any(name in key for name in added) for key in ours.keys() - theirs.keys())


def test_rotary_positions_depend_on_their_distance_alone() -> None:
    """In the first half of the channels; the others stay as they are, and so does frame 0."""
    x = torch.randn(1, 1, 1, 32, generator=torch.Generator().manual_seed(1)).expand(1, 9, 1, 32)
    turned = layers.turned(x)
    assert torch.equal(turned[:, 0], x[:, 0])
    assert torch.equal(turned[..., 16:], x[..., 16:])
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    near = torch.linalg.vecdot(turned[:, 1:], turned[:, :-1])
    torch.testing.assert_close(near, near[:, :1].expand_as(near))
    assert layers.turned(x.half())[..., :16].float().sub(turned[..., :16]).abs().max() < 2e-3


def test_neighbours_are_the_eight_around_with_the_border_repeated() -> None:
    places = layers.neighbours(3, 4, torch.device("cpu"))
    assert places.shape == (12, 8)
    assert places[5].tolist() == [0, 1, 2, 4, 6, 8, 9, 10]
    assert places[0].tolist() == [0, 0, 1, 0, 1, 4, 4, 5]


def test_more_sequences_than_a_kernel_takes_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = torch.randn(3, 7, 5, 16, generator=torch.Generator().manual_seed(1))
    whole = layers.attend(*parts, 2)
    monkeypatch.setattr(layers, "MOST_SEQUENCES", 3)
    torch.testing.assert_close(layers.attend(*parts, 2), whole)


def test_alphas_outside_their_range_are_clamped() -> None:
    alphas = torch.tensor([-0.2, 0.0, 0.25, 1.0, 1.3])
    assert layers.weight_of(alphas).tolist() == [1.0, 1.0, 0.75, 0.0, 0.0]
