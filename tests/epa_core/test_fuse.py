"""Properties of the frame-wise fusion."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from epa_core.fuse import fuse, slerp

betas = st.floats(0, 1)
seeds = st.integers(0, 2**32 - 1)


def random(seed, *shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def unit(seed, size):
    vector = random(seed, size, dtype=torch.float64)
    return vector / vector.norm()


@given(seeds, seeds, betas, st.integers(2, 200), st.floats(1e-3, 1e3))
def test_equal_norms_are_kept(one, other, beta, size, norm):
    mixed = slerp(unit(one, size) * norm, unit(other, size) * norm, beta)
    assert float(mixed.norm()) == pytest.approx(norm, rel=1e-9)


@given(seeds, seeds, betas, st.integers(2, 50))
def test_angle_grows_linearly(one, other, beta, size):
    p, q = unit(one, size), unit(other, size)
    mixed = slerp(p, q, beta)

    def angle(u, v):
        return 2 * math.atan2(float((u - v).norm()), float((u + v).norm()))

    assert angle(p, mixed) == pytest.approx(beta * angle(p, q), abs=1e-7)


@given(seeds, seeds)
def test_endpoints_are_exact(one, other):
    p, q = random(one, 3, 4), random(other, 3, 4)
    assert torch.equal(slerp(p, q, 0.0), p)
    assert torch.equal(slerp(p, q, 1.0), q)


@given(seeds, betas, st.floats(0.1, 10), st.floats(-1e-7, 1e-7))
def test_parallel_vectors_are_mixed_linearly(seed, beta, scale, off):
    p = random(seed, 20, dtype=torch.float64)
    q = p * scale + off * random(seed + 1, 20, dtype=torch.float64)
    torch.testing.assert_close(slerp(p, q, beta), (1 - beta) * p + beta * q, rtol=1e-6, atol=1e-6)


@given(seeds, betas, st.integers(2, 50), st.sampled_from([0.0, 1e-12, 1e-6, 1e-3]))
def test_opposite_vectors_turn_without_collapsing(seed, beta, size, off):
    p = unit(seed, size)
    q = -p + off * unit(seed + 1, size)
    q = q / q.norm()
    mixed = slerp(p, q, beta)
    assert torch.isfinite(mixed).all()
    assert float(mixed.norm()) == pytest.approx(1, rel=1e-6)
    assert float(mixed @ p) == pytest.approx(math.cos(beta * math.pi), abs=1e-2)


@given(seeds, betas)
def test_zero_vectors_are_mixed_linearly(seed, beta):
    p, zero = random(seed, 10), torch.zeros(10)
    torch.testing.assert_close(slerp(p, zero, beta), (1 - beta) * p)
    torch.testing.assert_close(slerp(zero, p, beta), beta * p)
    assert torch.equal(slerp(zero, zero, beta), zero)


def test_a_single_number_and_its_opposite():
    assert float(slerp(torch.tensor([1.0]), torch.tensor([-1.0]), 0.5)) == 0


def test_the_textbook_case():
    mixed = slerp(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]), 1 / 3)
    torch.testing.assert_close(mixed, torch.tensor([math.sqrt(3.0), 1.0]))


@settings(max_examples=25)
@given(seeds, st.integers(1, 7), st.sampled_from([0, 1]))
def test_each_frame_turns_by_its_own_angle(seed, count, axis):
    shape = [3, 4, 4]
    shape.insert(axis, count)
    real, proxy = random(seed, *shape), random(seed + 1, *shape)
    fused = fuse(real, proxy, axis)
    assert fused.shape == real.shape
    assert torch.equal(fused.select(axis, 0), real.select(axis, 0))
    if count > 1:
        assert torch.equal(fused.select(axis, -1), proxy.select(axis, -1))
    for index in range(count):
        p, q = real.select(axis, index).flatten(), proxy.select(axis, index).flatten()
        beta = index / max(count - 1, 1)
        angle = math.acos(float(p.double() @ q.double() / (p.double().norm() * q.double().norm())))
        expected = (math.sin((1 - beta) * angle) * p + math.sin(beta * angle) * q) / math.sin(angle)
        torch.testing.assert_close(fused.select(axis, index).flatten(), expected)


def test_one_frame_does_not_depend_on_the_others():
    real, proxy = random(1, 4, 5, 3, 3), random(2, 4, 5, 3, 3)
    before = fuse(real, proxy, 1)
    real[:, 1] *= 100
    after = fuse(real, proxy, 1)
    assert torch.equal(before[:, 2:], after[:, 2:])


def test_lerp_is_the_weighted_mean():
    real, proxy = random(1, 4, 5, 3, 3), random(2, 4, 5, 3, 3)
    fused = fuse(real, proxy, 1, "lerp")
    torch.testing.assert_close(fused[:, 1], 0.75 * real[:, 1] + 0.25 * proxy[:, 1])
    assert torch.equal(fused[:, 0], real[:, 0])
    assert torch.equal(fused[:, -1], proxy[:, -1])


def test_half_precision_is_computed_in_double():
    real, proxy = random(1, 4, 3, 8, 8).half(), random(2, 4, 3, 8, 8).half()
    fused = fuse(real, proxy, 1)
    assert fused.dtype == torch.float16
    assert torch.equal(fused, fuse(real.double(), proxy.double(), 1).half())


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        fuse(torch.zeros(4, 5, 3, 3), torch.zeros(4, 6, 3, 3), 1)
