"""Pairs with the published files' quirks become scene folders that can be mapped."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from runtime.aerial.bands import choose_bands
from runtime.aerial.resample import tile_grid
from runtime.errors import DataError
from runtime.manifest import AerialSpec, Normalization
from runtime.sample import AERIAL_BANDS
from runtime.satellite import BANDS, SatelliteSpec
from runtime.scene import find_scenes

h5py = pytest.importorskip("h5py")

TOOL = Path(__file__).parents[2] / "tools" / "convert_treesatai.py"
PRODUCTS = (
    "S2A_MSIL2A_20180407T103021_N0207_R108_T32UMD_20180407T123456",
    "S2B_MSIL2A_20180412T103021_N0207_R108_T32UMD_20180412T123456",
    "S2B_MSIL2A_20180412T103021_N0207_R108_T32UND_20180412T123456",
)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("convert_treesatai", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def write_pair(root: Path, *, mask_bands: int = 2) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Write one pair as published: nir, green, blue, red, and a ragged series in HDF5."""
    rng = np.random.default_rng(3)
    aerial = rng.integers(0, 256, (4, 304, 304), dtype=np.uint8)
    (root / "aerial").mkdir(parents=True)
    (root / "sentinel-ts").mkdir()
    with rasterio.open(
        root / "aerial" / "Abies_1.tif",
        "w",
        driver="GTiff",
        count=4,
        height=304,
        width=304,
        dtype="uint8",
        crs="EPSG:25832",
        transform=Affine(0.2, 0, 540000, 0, -0.2, 5800000),
    ) as dataset:
        dataset.write(aerial)
    series = rng.uniform(1, 9000, (len(PRODUCTS), 10, 6, 6)).astype(np.float32)
    masks = rng.uniform(0, 100, (len(PRODUCTS), mask_bands, 6, 6)).astype(np.float32)
    with h5py.File(root / "sentinel-ts" / "Abies_1_2018.h5", "w") as file:
        file["sen-2-data"] = series
        file["sen-2-masks"] = masks
        file["sen-2-products"] = np.array([p.encode() for p in PRODUCTS])
    return aerial, series


def test_bands_are_reordered_and_elevation_is_zero(tool: ModuleType, tmp_path: Path) -> None:
    aerial, _ = write_pair(tmp_path / "in")
    (scene,) = tool.convert(tmp_path / "in", tmp_path / "out")
    with rasterio.open(scene / "aerial.tif") as dataset:
        written = dataset.read()
        assert dataset.descriptions == AERIAL_BANDS
        assert "elevation band: 0" in dataset.tags()["SUBSTITUTED"]
    np.testing.assert_array_equal(written[:4], aerial[[3, 1, 2, 0]])
    assert not written[4].any()


def test_the_first_product_of_a_day_is_taken_and_the_series_is_centred(
    tool: ModuleType, tmp_path: Path
) -> None:
    _, series = write_pair(tmp_path / "in")
    (scene,) = tool.convert(tmp_path / "in", tmp_path / "out")
    files = sorted(path.name for path in (scene / "sentinel2").glob("S2_????????.tif"))
    assert files == ["S2_20180407.tif", "S2_20180412.tif"]
    with rasterio.open(scene / "sentinel2" / files[1]) as dataset:
        np.testing.assert_array_equal(dataset.read(), np.rint(series[1]).astype(np.uint16))
        assert dataset.descriptions == BANDS
        assert dataset.xy(3, 3, offset="ul") == pytest.approx((540030.4, 5799969.6))
    assert "1 more products" in (scene / "CONVERSION.txt").read_text()


def test_masks_of_an_odd_shape_are_left_out_and_named(tool: ModuleType, tmp_path: Path) -> None:
    write_pair(tmp_path / "in", mask_bands=10)
    (scene,) = tool.convert(tmp_path / "in", tmp_path / "out")
    assert not list((scene / "sentinel2").glob("*_masks.tif"))
    assert "masks of shape (3, 10, 6, 6)" in (scene / "CONVERSION.txt").read_text()


def test_a_converted_pair_fits_a_flair_model_and_gives_its_satellite_input(
    tool: ModuleType, tmp_path: Path
) -> None:
    write_pair(tmp_path / "in")
    (folder,) = tool.convert(tmp_path / "in", tmp_path / "out")
    (scene,) = find_scenes(folder, None, needs_satellite=True)
    statistics = Normalization(mean=(0.0,) * 5, std=(1.0,) * 5)
    spec = AerialSpec(
        bands=AERIAL_BANDS,
        resolution_m=0.2,
        tile_size=512,
        halo=64,
        stride=32,
        halo_exact=False,
        normalization=statistics,
    )
    with scene.open() as reader:
        assert choose_bands(reader.info, None, spec) is None
        assert not tile_grid(reader.info.grid, spec, False).resampled
        assert scene.satellite is not None
        made = scene.satellite.prepare(reader.info.grid, 256, 256, SatelliteSpec())
    assert made.series.shape == (12, 10, 40, 40)
    assert made.date_mask.tolist() == [0, 0, 0, 1, *[0] * 8]


def test_a_folder_without_images_is_refused(tool: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no aerial/\*.tif; expected TreeSatAI-TS"):
        tool.convert(tmp_path, tmp_path / "out")
