from collections.abc import Callable
from pathlib import Path

import pytest
import rasterio
import rasterio.warp

from segx import __version__
from segx.sample import summarise, write_scene
from segx.sample.spectra import BANDS

SHAPE = (700, 600)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene") / "scene", seed=2, shape=SHAPE)


def test_the_aerial_image_and_its_labels_share_one_grid(scene: Path) -> None:
    with (
        rasterio.open(scene / "aerial.tif") as aerial,
        rasterio.open(scene / "labels.tif") as truth,
    ):
        assert (aerial.height, aerial.width) == SHAPE == (truth.height, truth.width)
        assert (aerial.count, truth.count) == (5, 1)
        assert aerial.transform == truth.transform
        assert aerial.crs.to_epsg() == truth.crs.to_epsg() == 2154
        assert aerial.profile["tiled"]
        assert aerial.profile["compress"] == "deflate"
        assert aerial.tags()["SEGX_SAMPLE"] == truth.tags()["SEGX_SAMPLE"] == __version__
        labels = truth.read(1)
    assert labels.min() >= 1
    assert labels.max() <= 19


def test_sentinel_2_has_its_own_grid_and_reaches_250_m_beyond_the_image(scene: Path) -> None:
    with rasterio.open(scene / "aerial.tif") as aerial:
        left, bottom, right, top = rasterio.warp.transform_bounds(
            aerial.crs, "EPSG:32631", *aerial.bounds
        )
    dates = sorted(scene.glob("sentinel2/S2_????????.tif"))
    assert 18 <= len(dates) <= 20
    for path in dates:
        with rasterio.open(path) as source:
            assert source.crs.to_epsg() == 32631
            assert source.res == (10.0, 10.0)
            assert source.bounds.left % 10 == source.bounds.top % 10 == 0
            assert source.bounds.left <= left - 250
            assert source.bounds.right >= right + 250
            assert source.bounds.bottom <= bottom - 250
            assert source.bounds.top >= top + 250
            assert (source.count, source.dtypes[0], source.nodata) == (10, "uint16", 0)
            assert source.descriptions == BANDS
            assert source.tags()["SEGX_SAMPLE"] == __version__
            assert source.read().min() >= 1
            grid = source.transform, source.shape
        with rasterio.open(path.with_name(f"{path.stem}_masks.tif")) as masks:
            assert (masks.transform, masks.shape) == grid
            assert (masks.count, masks.dtypes[0]) == (2, "uint8")
            assert masks.descriptions == ("snow_probability", "cloud_probability")
            assert masks.read().max() <= 100


def test_sentinel_2_is_warped_to_where_the_labels_are(
    scene: Path, agreement: Callable[..., dict[tuple[int, int], float]]
) -> None:
    """The labels, warped by GDAL, must match the near infrared best without a shift."""
    score = agreement(scene / "labels.tif", (6, 7, 10, 11), scene / "sentinel2")
    assert max(score, key=lambda shift: score[shift]) == (0, 0)
    assert score[0, 0] > 0.5


def test_the_summary_counts_pixels_and_dates(scene: Path) -> None:
    summary = summarise(scene)
    assert summary.contents.startswith("one scene of 700 x 600 px, ")
    assert summary.contents.endswith(" Sentinel-2 dates")
    assert sum(share for _, share in summary.shares) == pytest.approx(1)


def test_a_scene_of_a_few_metres_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="63 x 500 px"):
        write_scene(tmp_path / "out", seed=0, shape=(63, 500))
    assert list(tmp_path.iterdir()) == []
