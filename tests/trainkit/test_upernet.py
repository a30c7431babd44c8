"""UPerNet's matrices do what PyTorch's pooling and interpolation do; U-TAE without halving."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from trainkit.config import InputConfig
from trainkit.joint_config import FlairHubConfig, SatelliteBranchConfig
from trainkit.models.upernet import enlarging_matrix, pooling_matrix, through_stride_2
from trainkit.models.utae import UTAE

SMALL = SatelliteBranchConfig(
    encoder_widths=(8, 8, 16, 16), decoder_widths=(8, 8, 16, 16), n_head=4, d_model=16, stride=1
)
sides = st.integers(min_value=2, max_value=40)


@given(size=sides, cells=st.integers(min_value=1, max_value=7))
def test_pooling_is_adaptive_average_pooling(size: int, cells: int) -> None:
    cells = min(cells, size)
    pixels = torch.rand(1, 2, size, size)
    matrix = pooling_matrix(size, cells)
    expected = F.adaptive_avg_pool2d(pixels, cells)
    torch.testing.assert_close(matrix @ pixels @ matrix.T, expected, atol=1e-5, rtol=1e-4)


@given(cells=sides, scale=st.integers(min_value=1, max_value=5), corners=st.booleans())
def test_enlarging_is_bilinear_interpolation(cells: int, scale: int, corners: bool) -> None:
    pixels = torch.rand(1, 2, cells, cells)
    size = cells * scale
    matrix = enlarging_matrix(cells, size, corners=corners)
    expected = F.interpolate(pixels, size=(size, size), mode="bilinear", align_corners=corners)
    torch.testing.assert_close(matrix @ pixels @ matrix.T, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(size))


@given(height=sides, width=sides)
def test_the_level_at_stride_2_is_enlarged_and_halved(height: int, width: int) -> None:
    pixels = torch.rand(1, 3, height, width)
    finer = F.interpolate(pixels, scale_factor=2.0, mode="bilinear")
    expected = F.interpolate(finer, size=(height, width), mode="bilinear")
    torch.testing.assert_close(through_stride_2(pixels), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("cells", [2, 10, 13])
@torch.no_grad()
def test_without_halving_every_level_has_the_size_of_the_window(cells: int) -> None:
    model = UTAE(SMALL, bands=3).eval()
    series, mask = torch.rand(2, 4, 3, cells, cells), torch.ones(2, 4)
    maps = model.maps(series, mask, torch.zeros(2, 4))
    assert [item.shape for item in maps] == [(2, n, cells, cells) for n in (16, 16, 8, 8)]
    torch.testing.assert_close(model(series, mask, torch.zeros(2, 4)), maps[-1])


@pytest.mark.parametrize(("cells", "cell_m"), [(10, 10.0), (9, 10.24), (40, 10.0)])
def test_a_window_that_does_not_cover_the_tile_is_refused(cells: int, cell_m: float) -> None:
    inputs = InputConfig(satellite_window=cells, satellite_resolution_m=cell_m)
    with pytest.raises(ValueError, match=r"tile is 102\.40 m wide; they must be equal; use 10"):
        FlairHubConfig(satellite=SMALL).check(inputs)
    FlairHubConfig(satellite=SMALL).check(
        InputConfig(satellite_window=10, satellite_resolution_m=10.24)
    )
