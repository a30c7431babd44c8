"""FLAIR-HUB trees as published, written by the tests: three patches of two domains."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hub_tree import (
    DAYS,
    PLACES,
    A,
    B,
    C,
    aerial_of,
    heights_of,
    listed,
    path_of,
    series_of,
    write_dates,
    write_splits,
)
from numpy.typing import NDArray

Write = Callable[..., Path]


@pytest.fixture(scope="session")
def add(write_aerial: Write) -> Callable[..., Path]:
    """Function that writes one file of a patch."""

    def write(root: Path, patch: str, modality: str, pixels: NDArray[Any], **options: Any) -> Path:
        x, y = PLACES[patch]
        side = 102.4 / pixels.shape[1]
        place = {"transform": Affine(side, 0.0, x, 0.0, -side, y), "bands": (), **options}
        return write_aerial(path_of(root, patch, modality), pixels, **place)

    return write


@pytest.fixture(scope="package")
def published(tmp_path_factory: pytest.TempPathFactory, add: Write) -> Path:
    """A tree; read it, do not change it. C has labels, but neither heights nor a series."""
    root = tmp_path_factory.mktemp("hub")
    values = np.arange(512) % 19
    for patch in (A, B, C):
        add(root, patch, "AERIAL_RGBI", aerial_of(patch))
        labels = np.tile(values, (512, 1)).astype(np.uint8)
        add(root, patch, "AERIAL_LABEL-COSIA", labels[None])
    for patch in (A, B):
        add(root, patch, "DEM_ELEV", heights_of())
        add(root, patch, "SENTINEL2_TS", series_of().reshape(-1, 10, 10))
        cover = np.zeros((2 * len(DAYS), 10, 10), dtype=np.uint16)
        cover[3] = 100  # clouds of the second date
        add(root, patch, "SENTINEL2_MSK-SC", cover)
    # What is there too and is not read.
    old = path_of(root, A.replace("2019", "195X"), "AERIAL-RLT_PAN")
    old.parent.mkdir(parents=True)
    old.write_bytes(b"historical")
    write_dates(root, {A: listed(), B: listed()})
    write_splits(root, {A: "train", B: "valid", C: "test", "D001-2020_X_1-1": "train"})
    return root


@pytest.fixture
def tree(published: Path, tmp_path: Path) -> Path:
    """The same tree, to be changed."""
    return shutil.copytree(published, tmp_path / "tree")


@pytest.fixture
def whole(tree: Path, add: Write) -> Path:
    """The tree with heights for every patch."""
    add(tree, C, "DEM_ELEV", heights_of())
    return tree
