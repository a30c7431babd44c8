"""Late fusion: where the satellite cells lie on the tile, and what adding logits means."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainkit.config import InputConfig
from trainkit.models.fusion import LateFusion, footprint_matrix

K = 3


def _fusion(*weights: float, window: int = 40) -> LateFusion:
    config = InputConfig(tile_size=256, satellite_window=window)
    return LateFusion(config, ("aerial", "satellite")[: len(weights)], {"aerial": 4}, weights, K)


def test_a_ramp_over_the_window_is_reproduced_at_every_aerial_pixel_centre() -> None:
    config = InputConfig(tile_size=512)
    fusion = LateFusion(config, ("satellite",), {}, (1.0,), 1)

    def ramp(side: int, step_m: float) -> Tensor:
        metres = (torch.arange(side) + 0.5 - side / 2) * step_m
        return (0.03 * metres[:, None] - 0.11 * metres[None, :] + 2.0)[None, None]

    found = fusion.upsample("satellite", ramp(40, 10.0))
    torch.testing.assert_close(found, ramp(512, 0.2), atol=1e-4, rtol=0)


def test_only_the_cells_under_the_tile_are_used() -> None:
    needed, weights = footprint_matrix(pixels=512, resolution_m=0.2, cells=40, cell_m=10.0)
    assert needed == slice(14, 26)
    assert weights.shape == (512, 12)
    assert (weights > 0).any(axis=0).all()


@given(
    pixels=st.integers(1, 64),
    resolution_m=st.floats(0.1, 5.0),
    cells=st.integers(1, 20),
    cell_m=st.floats(1.0, 20.0),
)
def test_interpolation_keeps_constants_and_the_tile_s_symmetry(
    pixels: int, resolution_m: float, cells: int, cell_m: float
) -> None:
    needed, weights = footprint_matrix(
        pixels=pixels, resolution_m=resolution_m, cells=cells, cell_m=cell_m
    )
    full = np.zeros((pixels, cells))
    full[:, needed] = weights
    np.testing.assert_allclose(full.sum(axis=1), 1.0, atol=1e-6)
    assert (full >= 0).all()
    np.testing.assert_allclose(full, full[::-1, ::-1], atol=1e-5)


def test_the_softmax_of_the_sum_is_the_geometric_mean_of_the_softmaxes() -> None:
    fusion = _fusion(0.7, 0.3)
    generator = torch.Generator().manual_seed(1)
    aerial = 4 * torch.randn(2, K, 64, 64, generator=generator)
    satellite = 4 * torch.randn(2, K, 40, 40, generator=generator)
    fused = torch.softmax(fusion(aerial, satellite), dim=1)
    first = torch.softmax(fusion.upsample("aerial", aerial), dim=1)
    second = torch.softmax(fusion.upsample("satellite", satellite), dim=1)
    mean = first**0.7 * second**0.3
    torch.testing.assert_close(fused, mean / mean.sum(dim=1, keepdim=True))


def test_weights_may_differ_by_class() -> None:
    fusion = _fusion(0.5, 0.5)
    fusion.set_weights(np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], dtype=np.float32))
    aerial, satellite = torch.randn(1, K, 64, 64), torch.randn(1, K, 40, 40)
    fused = fusion(aerial, satellite)
    for k, branch, logits in ((0, "aerial", aerial), (1, "satellite", satellite)):
        torch.testing.assert_close(fused[:, k], fusion.upsample(branch, logits)[:, k])


def test_weights_travel_with_the_state_of_the_model() -> None:
    fusion, other = _fusion(0.9, 0.1), _fusion(0.5, 0.5)
    other.load_state_dict(fusion.state_dict())
    torch.testing.assert_close(other.weights, fusion.weights)
    assert list(fusion.state_dict()) == ["weights"]


def test_weights_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"have shape \(2, 5\); expected \(2, 3\)"):
        _fusion(0.5, 0.5).set_weights(np.ones((2, 5), dtype=np.float32))


def test_one_branch_alone_is_only_enlarged() -> None:
    fusion = _fusion(1.0)
    logits = torch.randn(1, K, 64, 64)
    torch.testing.assert_close(fusion(logits), fusion.upsample("aerial", logits))
