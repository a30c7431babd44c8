"""Files of a FLAIR #2 tree that are damaged or of another kind, and its metadata."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from runtime.datasets.flair import FlairTree
from runtime.errors import BandError, DataError

AddArea = Callable[..., Path]


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def overwrite(path: Path, data: NDArray[Any], **options: Any) -> None:
    """Replace a GeoTIFF's pixels, keeping its place."""
    with rasterio.open(path) as old:
        profile = {"driver": "GTiff", "crs": old.crs, "transform": old.transform}
    shape = {"count": data.shape[0], "height": data.shape[1], "width": data.shape[2]}
    with rasterio.open(path, "w", dtype=data.dtype, **profile, **shape, **options) as dataset:
        dataset.write(data)


@pytest.mark.parametrize("crs", ["EPSG:2154", 'LOCAL_CS["unnamed",UNIT["metre",1]]'])
def test_an_unnamed_local_crs_is_lambert_93(add_area: AddArea, crs: str) -> None:
    tree = FlairTree(add_area({"IMG_000002": [20, 20]}, crs=crs))
    assert tree.position("IMG_000002") == pytest.approx((700_206 + 51.2, 6_600_000 - 51.2))
    assert tree.read("IMG_000002", None).labels is not None


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((4, 512, 512), "uint8", "is uint8 4 x 512 x 512; expected uint8 5 x 512 x 512"),
        ((5, 256, 512), "uint8", "is uint8 5 x 256 x 512"),
        ((5, 512, 512), "uint16", "is uint16 5 x 512 x 512"),
    ],
)
def test_an_image_of_another_kind_is_refused(
    add_area: AddArea, shape: tuple[int, ...], dtype: str, message: str
) -> None:
    tree = FlairTree(add_area({"IMG_000001": [20, 20]}))
    overwrite(tree.patches["IMG_000001"].image, np.ones(shape, dtype=dtype))
    with pytest.raises(BandError, match=message):
        tree.read("IMG_000001", None)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full((1, 512, 512), 20, dtype=np.uint8), "MSK_000001.tif holds the label 20"),
        (np.full((1, 512, 512), 257, dtype=np.uint16), "MSK_000001.tif holds the label 257"),
        (np.ones((1, 512, 512), dtype=np.float32), "MSK_000001.tif is of type float32"),
        (np.ones((1, 256, 512), dtype=np.uint8), r"has shape \(1, 256, 512\); expected"),
        (np.ones((3, 512, 512), dtype=np.uint8), r"has shape \(3, 512, 512\); expected"),
    ],
)
def test_labels_of_another_kind_are_refused(
    add_area: AddArea, labels: NDArray[Any], message: str
) -> None:
    tree = FlairTree(add_area({"IMG_000001": [20, 20]}))
    path = tree.patches["IMG_000001"].labels
    assert path is not None
    overwrite(path, labels)
    with pytest.raises(DataError, match=message):
        tree.read("IMG_000001", None)


def test_a_patch_without_labels_is_read_without(add_area: AddArea) -> None:
    root = add_area({"IMG_000001": [20, 20]})
    for path in root.rglob("MSK_*.tif"):
        path.unlink()
    assert FlairTree(root).read("IMG_000001", None).labels is None


def test_a_truncated_image_is_named(add_area: AddArea) -> None:
    tree = FlairTree(add_area({"IMG_000001": [20, 20]}))
    path = tree.patches["IMG_000001"].image
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"IMG_000001.tif cannot be (read|opened)"):
        tree.read("IMG_000001", None)
