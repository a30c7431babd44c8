from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from runtime.bundle import open_bundle
from runtime.errors import DataError
from runtime.grid import Grid
from runtime.maps import MapOptions, MapSet, map_kinds, map_tags, refuse_clashes, tile_maps
from runtime.tiler import Tile, TilePlan

GRID = Grid((40, 30), Affine(0.2, 0.0, 7e5, 0.0, -0.2, 6.6e6), CRS.from_epsg(2154))
ALL = MapOptions(confidence=True, probabilities=True, segx_version="9.9")


@given(st.integers(0, 2**32 - 1))
def test_classes_and_confidence_follow_from_probabilities(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(13, 0.4), (1, 5, 6)).astype(np.float32)
    probabilities = np.moveaxis(shares, -1, 1)
    maps = tile_maps({"probabilities": probabilities})
    assert {name: (a.dtype.name, a.shape) for name, a in maps.items()} == {
        "classes": ("uint8", (1, 5, 6)),
        "confidence": ("uint8", (1, 5, 6)),
        "probabilities": ("uint8", (13, 5, 6)),
    }
    np.testing.assert_array_equal(maps["classes"][0], probabilities[0].argmax(axis=0))
    np.testing.assert_array_equal(maps["confidence"][0], maps["probabilities"].max(axis=0))
    winner = np.take_along_axis(maps["probabilities"], maps["classes"].astype(np.intp), axis=0)
    np.testing.assert_array_equal(winner, maps["confidence"])
    assert maps["probabilities"].max() <= 254
    total = maps["probabilities"].astype(int).sum(axis=0)
    assert np.abs(total - 254).max() <= 13 / 2


def test_certainty_is_254_and_never_nodata() -> None:
    probabilities = np.zeros((1, 2, 1, 1), dtype=np.float32)
    probabilities[0, 1] = 1
    maps = tile_maps({"probabilities": probabilities})
    assert (maps["classes"].item(), maps["confidence"].item()) == (1, 254)


def test_a_class_map_passes_as_it_is() -> None:
    classes = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    maps = tile_maps({"classes": classes, "confidence": classes * 2, "aerial_logits": classes})
    assert set(maps) == {"classes", "confidence"}
    np.testing.assert_array_equal(maps["classes"], classes)


def test_what_is_written_follows_the_options(tiny_bundle: Path) -> None:
    card = open_bundle(tiny_bundle).card
    assert list(map_kinds(card, MapOptions())) == ["classes"]
    assert list(map_kinds(card, MapOptions(confidence=True))) == ["classes", "confidence"]
    kinds = map_kinds(card, ALL)
    assert [kind.suffix for kind in kinds.values()] == [
        "landcover",
        "confidence",
        "probabilities",
    ]


def test_tags_say_which_model_made_a_map(tiny_bundle: Path) -> None:
    opened = open_bundle(tiny_bundle)
    assert map_tags(opened.card, "fp32", ALL).file == {
        "SEGX_VERSION": "9.9",
        "SEGX_BUNDLE": "tiny",
        "SEGX_BUNDLE_SHA256": opened.sha256,
        "SEGX_PRECISION": "fp32",
        "SEGX_VERIFIED": "true",
    }


def test_hidden_pixels_become_nodata_in_every_map(tiny_bundle: Path, tmp_path: Path) -> None:
    card = open_bundle(tiny_bundle).card
    tags = map_tags(card, "fp32", ALL)
    plan = TilePlan(shape=GRID.shape, size=64, halo=0)
    (tile,) = plan
    valid = np.ones((64, 64), dtype=np.bool_)
    valid[3, 4] = valid[39, 29] = valid[50, 50] = False
    results = {
        "classes": np.full((1, 64, 64), 7, dtype=np.uint8),
        "confidence": np.full((1, 64, 64), 70, dtype=np.uint8),
        "probabilities": np.full((13, 64, 64), 17, dtype=np.uint8),
    }
    with MapSet(tmp_path, "a", GRID, map_kinds(card, ALL), tags) as maps:
        maps.write(tile, results, valid)
        maps.finish()
    for path, value in zip(maps.paths, (7, 70, 17), strict=True):
        with rasterio.open(path) as dataset:
            values = dataset.read()
            assert dataset.nodata == 255
        assert (values[:, ~valid[:40, :30]] == 255).all()
        assert (values[:, valid[:40, :30]] == value).all()
    assert (results["classes"] == 7).all(), "the model's own array is left alone"


def test_an_error_while_opening_removes_those_already_open(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    card = open_bundle(tiny_bundle).card
    (tmp_path / "a_confidence.part.tif").mkdir()
    kinds = map_kinds(card, MapOptions(confidence=True))
    with pytest.raises(DataError, match=r"a_confidence\.tif cannot be written"):
        MapSet(tmp_path, "a", GRID, kinds, map_tags(card, "fp32", ALL))
    assert [path.name for path in tmp_path.iterdir()] == ["a_confidence.part.tif"]


def test_files_whose_maps_would_overwrite_each_other_are_refused() -> None:
    refuse_clashes([Path("a/x.tif"), Path("a/y.tif"), Path("a/x.tif")])
    with pytest.raises(DataError, match=r"a/x.tif and b/x.tiff would both become x_landcover.tif"):
        refuse_clashes([Path("a/x.tif"), Path("b/x.tiff")])


def test_tiles_beyond_the_raster_write_their_inside_only(tiny_bundle: Path, tmp_path: Path) -> None:
    card = open_bundle(tiny_bundle).card
    tile = Tile(row=16, col=-16, interior=(slice(32, 40), slice(0, 30)))
    results = {"classes": np.arange(64, dtype=np.uint8)[None, :, None].repeat(64, axis=2)}
    kinds = map_kinds(card, MapOptions())
    with MapSet(tmp_path, "a", GRID, kinds, map_tags(card, "fp32", ALL)) as maps:
        maps.write(tile, results, np.ones((64, 64), dtype=np.bool_))
        maps.finish()
    with rasterio.open(maps.paths[0]) as dataset:
        np.testing.assert_array_equal(dataset.read(1)[32:, 5], np.arange(16, 24))
