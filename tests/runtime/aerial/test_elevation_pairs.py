"""Laws: the surface less the terrain is the height, on whatever grids and above whatever datum."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from height_planes import MOSAIC, around, expected, plane_on, whole
from numpy.typing import NDArray

from runtime.aerial.elevation import elevation_paths, open_elevation
from runtime.errors import ConfigError, DataError, GridError
from runtime.grid import Grid

Write = Callable[..., Path]
EIGHT = np.full((1, *MOSAIC.shape), 8, dtype=np.float32)
"""Metres."""


@pytest.fixture
def pair(write_aerial: Write, tmp_path: Path) -> Callable[..., str]:
    """Function that writes a surface and a terrain, and gives the value of `--elevation`."""

    def write(*models: tuple[NDArray[Any], Grid], **options: Any) -> str:
        paths = [
            write_aerial(
                tmp_path / f"{name}.tif",
                values[None],
                bands=(),
                crs=grid.crs.to_string(),
                transform=grid.transform,
                **options,
            )
            for name, (values, grid) in zip(("dsm", "dtm"), models, strict=True)
        ]
        return ",".join(map(str, paths))

    return write


def terrain_on(grid: Grid) -> NDArray[np.float32]:
    """Metres above the sea, on a slope of its own."""
    return (plane_on(grid) * -3 + 900).astype(np.float32)


@pytest.mark.parametrize(
    ("fine", "coarse"), [(MOSAIC, MOSAIC), (around(2154, 0.5, 260), around(32631, 1.3, 110))]
)
def test_the_surface_less_the_terrain_is_the_height(
    fine: Grid, coarse: Grid, pair: Callable[..., str]
) -> None:
    choice = pair((terrain_on(fine) + plane_on(fine), fine), (terrain_on(coarse), coarse))
    band = open_elevation(choice, MOSAIC)
    codes, valid = whole(band, MOSAIC)
    assert valid.all()
    assert np.abs(codes - expected(MOSAIC)).max() <= 1.3, "two tolerances of the warper, at 900 m"
    resampled = "" if fine is coarse else ", resampled bilinearly"
    assert band.text == f"dsm.tif less dtm.tif, metres x 5{resampled}"
    band.close()


@pytest.mark.parametrize("shift", [-400, 0, 312, 4000])
def test_the_datum_of_a_pair_does_not_matter(shift: int, pair: Callable[..., str]) -> None:
    rng = np.random.default_rng(8)
    metres = rng.integers(0, 40, MOSAIC.shape)
    ground = rng.integers(0, 100, MOSAIC.shape) + shift
    models = [(values.astype(np.int16), MOSAIC) for values in (ground + metres, ground)]
    with closing(open_elevation(pair(*models), MOSAIC)) as band:
        np.testing.assert_array_equal(whole(band, MOSAIC)[0], metres * 5)


def test_a_height_is_known_where_both_are(pair: Callable[..., str]) -> None:
    ground = np.full(MOSAIC.shape, 300, dtype=np.float32)
    surface = ground + 8
    surface[:50], ground[:, 200:] = -9999, -9999
    band = open_elevation(pair((surface, MOSAIC), (ground, MOSAIC), nodata=-9999), MOSAIC)
    codes, valid = whole(band, MOSAIC)
    known = np.zeros(MOSAIC.shape, dtype=np.bool_)
    known[50:, :200] = True
    np.testing.assert_array_equal(valid, known)
    np.testing.assert_array_equal(codes, np.where(known, 40, 0))
    band.close()


def test_a_surface_below_the_terrain_is_the_ground(pair: Callable[..., str]) -> None:
    ground = np.full(MOSAIC.shape, 300, dtype=np.float32)
    surface = ground.copy()
    surface[::3] -= 2
    band = open_elevation(pair((surface, MOSAIC), (ground, MOSAIC)), MOSAIC)
    assert not whole(band, MOSAIC)[0].any()
    band.close()


def test_bytes_of_a_pair_are_metres(pair: Callable[..., str]) -> None:
    ground = np.full(MOSAIC.shape, 20, dtype=np.uint8)
    band = open_elevation(pair((ground + 7, MOSAIC), (ground, MOSAIC)), MOSAIC)
    assert (whole(band, MOSAIC)[0] == 35).all()
    band.close()


@pytest.mark.parametrize("difference", [-7, 60])
def test_a_pair_that_is_swapped_or_of_two_datums_is_refused(
    difference: int, pair: Callable[..., str]
) -> None:
    ground = np.full(MOSAIC.shape, 300, dtype=np.float32)
    choice = pair((ground + difference, MOSAIC), (ground, MOSAIC))
    with pytest.raises(DataError, match=f"dsm.tif less .*dtm.tif is {difference} m for most"):
        open_elevation(choice, MOSAIC)


def test_three_files_are_refused_and_a_comma_in_a_name_is_none(
    write_aerial: Write, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"names 3 files; expected FILE, DSM,DTM or zero"):
        open_elevation("a.tif,b.tif,c.tif", MOSAIC)
    with pytest.raises(ConfigError, match=r"--elevation dsm.tif, names 2 files; expected FILE"):
        open_elevation("dsm.tif,", MOSAIC)
    path = write_aerial(tmp_path / "height, 2021.tif", EIGHT, transform=MOSAIC.transform, bands=())
    assert elevation_paths(str(path)) == (path,)
    assert elevation_paths("zero") == elevation_paths(None) == ()
    with closing(open_elevation(str(path), MOSAIC)) as band:
        assert (whole(band, MOSAIC)[0] == 40).all()


def test_files_without_a_crs_take_the_one_that_is_assumed(
    write_aerial: Write, tmp_path: Path
) -> None:
    path = tmp_path / "dsm.tif"
    write_aerial(path, EIGHT, bands=(), crs=None, transform=MOSAIC.transform)
    with pytest.raises(GridError, match="has no CRS"):
        open_elevation(str(path), MOSAIC)
    with closing(open_elevation(str(path), MOSAIC, assume_crs="EPSG:2154")) as band:
        assert (whole(band, MOSAIC)[0] == 40).all()
