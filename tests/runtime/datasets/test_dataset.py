from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from runtime.card import ModelCard
from runtime.dataset import check_dataset_fit, open_dataset, samples
from runtime.datasets.flair import CLASSES, LICENCE, FlairTree
from runtime.datasets.landcover_ai import LandCoverAi
from runtime.datasets.scene_dataset import SceneDataset
from runtime.errors import BandError, DataError, GridError
from runtime.manifest import AerialSpec, Normalization
from runtime.satellite import SatelliteSpec

Write = Callable[..., Path]


def card(bands: tuple[str, ...] = ("blue", "red"), resolution_m: float = 0.25) -> ModelCard:
    statistics = Normalization(mean=(0.0,) * len(bands), std=(1.0,) * len(bands))
    return ModelCard(
        name="fake",
        sha256="0" * 64,
        verified=True,
        toy=False,
        aerial=AerialSpec(
            bands=bands,
            resolution_m=resolution_m,
            tile_size=512,
            halo=64,
            stride=32,
            halo_exact=False,
            normalization=statistics,
        ),
        satellite=None,
        classes=CLASSES,
    )


@pytest.fixture
def mixed(write_aerial: Write, tmp_path: Path) -> LandCoverAi:
    """Two images of one tile each, at 0.25 and at 0.5 m."""
    for name, side in (("fine", 0.25), ("coarse", 0.5)):
        place = {"crs": "EPSG:2180", "transform": Affine(side, 0, 5e5, 0, -side, 4e5)}
        image = np.zeros((3, 512, 512), np.uint8)
        write_aerial(tmp_path / "images" / f"{name}.tif", image, bands=(), **place)
    (tmp_path / "masks").mkdir()
    dataset = open_dataset(tmp_path)
    assert isinstance(dataset, LandCoverAi)
    return dataset


# Opening


def test_a_folder_is_opened_and_its_split_read_in_order(add_area: Callable[..., Path]) -> None:
    add_area({"IMG_000002": [20, 20], "IMG_000001": [30, 25]}, domain="D006_2020")
    dataset = open_dataset(add_area({"IMG_000003": [20, 20]}))
    assert isinstance(dataset, FlairTree)
    read = list(samples(dataset, "train", SatelliteSpec(window=4)))
    assert [sample.id for sample in read] == ["IMG_000001", "IMG_000002"]
    assert all(s.satellite is not None and s.satellite.series.shape[2:] == (4, 4) for s in read)


def test_images_and_masks_are_landcover_ai(mixed: LandCoverAi) -> None:
    assert set(mixed.tiles) == {"fine_0", "coarse_0"}


def test_a_scene_is_cut_into_the_tiles_that_are_asked_for(tiny_scene: Path) -> None:
    dataset = open_dataset(tiny_scene, tile=50)
    assert isinstance(dataset, SceneDataset)
    assert len(dataset.ids("scene")) == 3 * 4
    with pytest.raises(DataError, match="expected 512 px or more on each side"):
        open_dataset(tiny_scene)


def test_every_layout_says_under_which_terms_its_data_are(
    mixed: LandCoverAi, add_area: Callable[..., Path], tiny_scene: Path, tmp_path: Path
) -> None:
    terms = mixed.licence
    assert terms.startswith("CC BY-NC-SA 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0)")
    assert "Boguszewski" in terms
    assert "Copernicus" not in terms
    (tmp_path / "sentinel2").mkdir()
    assert mixed.licence == f"{terms}; contains modified Copernicus Sentinel data"
    assert FlairTree(add_area({"IMG_000001": [20, 20]})).licence == LICENCE
    assert "FLAIR #2, IGN; contains modified Copernicus" in LICENCE
    scene = open_dataset(tiny_scene, tile=50).licence
    assert scene == "not known: a scene folder does not say; ask whoever made the scene"


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone is no folder; expected a data set; check the path"):
        open_dataset(tmp_path / "gone")


@pytest.mark.parametrize("file", ["notes.txt", "images/a.tif", "masks/a.tif", "sentinel2/S2_1.tif"])
def test_a_folder_of_no_known_layout_is_told_what_was_expected(file: str, tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    with pytest.raises(DataError, match="holds no data set; expected IMG") as info:
        open_dataset(tmp_path)
    for layout in (
        "IMG_*.tif (a FLAIR #2 tree)",
        "*_AERIAL_RGBI/ (FLAIR-HUB)",
        "images/ and masks/ (LandCover.ai v1)",
        "top_potsdam_*.tif (ISPRS Potsdam)",
        "dataset.toml with images/ and labels/ (a folder of your own)",
        "aerial.tif (a scene)",
    ):
        assert layout in str(info.value)


# Whether a data set fits a model


def test_a_data_set_of_the_models_bands_and_resolution_fits(mixed: LandCoverAi) -> None:
    for bands in (("blue", "red"), ("red", "green", "blue")):
        for found in (0.25, 0.229, 0.277):
            check_dataset_fit(mixed, card(bands, found), ["fine_0"])


def test_a_band_that_is_missing_is_named(mixed: LandCoverAi) -> None:
    with pytest.raises(BandError, match="the bands red, green, blue; expected nir too; use a mod"):
        check_dataset_fit(mixed, card(("red", "nir")), ["fine_0"])


@pytest.mark.parametrize(
    ("ids", "resolution_m", "named"),
    [
        (["fine_0"], 0.2, "0.250 m per pixel in fine; expected 0.200 m within 10%; resample"),
        (["fine_0"], 0.5, "0.250 m per pixel in fine; expected 0.500 m within 10%; resample"),
        (["fine_0", "coarse_0"], 0.25, "0.500 m per pixel in coarse; expected 0.250 m within"),
        (["coarse_0", "fine_0"], 0.25, "0.500 m per pixel in coarse; expected 0.250 m within"),
    ],
)
def test_an_area_of_another_resolution_is_named(
    ids: list[str], resolution_m: float, named: str, mixed: LandCoverAi
) -> None:
    with pytest.raises(GridError, match=named):
        check_dataset_fit(mixed, card(resolution_m=resolution_m), ids)


def test_degrees_fit_no_model(write_aerial: Write, tmp_path: Path) -> None:
    transform = Affine(2e-6, 0, 5.0, 0, -2e-6, 45.0)
    image = np.ones((5, 8, 8), np.uint8)
    write_aerial(tmp_path / "aerial.tif", image, crs="EPSG:4326", transform=transform)
    dataset = open_dataset(tmp_path, tile=8)
    with pytest.raises(GridError, match=r"has a CRS in degrees in .*; expected 0.250 m within"):
        check_dataset_fit(dataset, card(), dataset.ids("scene"))


def test_a_flair_tree_is_looked_at_once_per_area(
    add_area: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_area({"IMG_000001": [20, 20], "IMG_000002": [20, 20]})
    dataset = open_dataset(add_area({"IMG_000003": [20, 20]}, zone="Z2_UU"))
    looked: list[str] = []
    real = dataset.resolution_m

    def counting(patch_id: str) -> float:
        looked.append(dataset.groups()[patch_id])
        return real(patch_id)

    monkeypatch.setattr(dataset, "resolution_m", counting)
    check_dataset_fit(dataset, card(("elevation",), 0.2), list(dataset.groups()))
    assert sorted(looked) == ["D004_2021/Z10_AU", "D004_2021/Z2_UU"]
    with pytest.raises(GridError, match=r"0.200 m per pixel in D004_2021/Z10_AU; expected 0.250"):
        check_dataset_fit(dataset, card(), ["IMG_000002"])
