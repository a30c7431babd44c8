"""Small FLAIR #2 trees, written by the tests that read them."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

Packaging = Literal["challenge", "toy", "newer"]

SERIES_SHAPE = (3, 10, 60, 50)
PRODUCTS = (
    "S2A_MSIL2A_20210415T105021_N0300_R051_T31UDP_20210415T135921",
    "S2B_MSIL2A_20210420T105619_N0301_R094_T31UDP_20210420T135920",
    "S2A_MSIL2A_20220804T105041_N0400_R051_T31UDP_20220804T135921",
)


def write_raster(path: Path, data: NDArray[np.generic], crs: str, corner: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=data.shape[0],
        height=data.shape[1],
        width=data.shape[2],
        dtype=data.dtype,
        crs=crs,
        transform=Affine(0.2, 0.0, corner[0], 0.0, -0.2, corner[1]),
        compress="deflate",
    ) as dataset:
        dataset.write(data)


def aerial_of(name: str) -> NDArray[np.uint8]:
    """Pixels of a patch, another value in each band, row and column."""
    number = int(name.split("_")[-1])
    band, row, col = np.ogrid[:5, :512, :512]
    return np.asarray((number * 7 + band * 50 + row // 8 + col // 32) % 256, dtype=np.uint8)


def labels_of(name: str) -> NDArray[np.uint8]:
    """Label values 1..19 in columns of unequal width, a bar of 0 on top."""
    number = int(name.split("_")[-1])
    labels = np.tile((np.arange(512) // 20 + number) % 19 + 1, (512, 1)).astype(np.uint8)
    labels[:3] = 0
    return labels


def series_of(zone: str) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Digital numbers and masks of an area."""
    generator = np.random.default_rng(list(zone.encode()))
    dn = generator.integers(1, 9000, SERIES_SHAPE, dtype=np.uint16)
    cover = generator.integers(0, 40, (3, 2, *SERIES_SHAPE[2:]), dtype=np.uint8)
    return dn, cover


def folders(packaging: Packaging, split: str, domain: str, zone: str) -> dict[str, Path]:
    """Folders of an area's images, labels and series, as the published archives unpack."""
    if packaging == "newer":
        parts = {"train": "train-val", "test": "flair#2-test", "test-1": "flair#1-test"}
        base = Path("data", parts[split], domain)
        words = {"aerial": "aerial", "labels": "labels", "sen": "sentinel"}
        return {kind: base / word / zone for kind, word in words.items()}
    prefix = {"challenge": "flair_2_" if split == "test" else "flair_"}.get(packaging)
    prefix = prefix or "flair_2_toy_dataset/flair_2_toy_"
    inner = {"aerial": "img", "labels": "msk", "sen": "sen"}
    return {
        kind: Path(f"{prefix}{kind}_{split}", domain, zone, name) for kind, name in inner.items()
    }


def write_area(
    root: Path,
    centroids: Mapping[str, Sequence[float]],
    *,
    packaging: Packaging = "challenge",
    split: str = "train",
    domain: str = "D004_2021",
    zone: str = "Z10_AU",
    crs: str = "EPSG:2154",
    satellite: bool = True,
) -> Path:
    """Add an area to a tree; `centroids` places its patches, (row, col) in the series."""
    place = folders(packaging, split, domain, zone)
    for name in centroids:
        number = int(name.split("_")[-1])
        corner = (700_000 + 103 * number, 6_600_000)
        write_raster(root / place["aerial"] / f"{name}.tif", aerial_of(name), crs, corner)
        mask = root / place["labels"] / f"{name.replace('IMG', 'MSK')}.tif"
        write_raster(mask, labels_of(name)[None], crs, corner)
    if satellite:
        folder = root / place["sen"]
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"SEN2_sp_{domain}-{zone}"
        dn, cover = series_of(zone)
        np.save(folder / f"{stem}_data.npy", dn)
        np.save(folder / f"{stem}_masks.npy", cover)
        (folder / f"{stem}_products.txt").write_text("\n".join(PRODUCTS) + "\n")
    table = root / ("aux-data" if packaging == "newer" else "")
    table.mkdir(parents=True, exist_ok=True)
    file = table / "flair-2_centroids_sp_to_patch.json"
    known = json.loads(file.read_text()) if file.is_file() else {}
    known.update({f"{name}.tif": list(place) for name, place in centroids.items()})
    file.write_text(json.dumps(known))
    return root


@pytest.fixture
def add_area(tmp_path: Path) -> Callable[..., Path]:
    """Function that adds an area to one tree in `tmp_path` and returns the tree's root."""

    def add(centroids: Mapping[str, Sequence[float]], **options: object) -> Path:
        return write_area(tmp_path, centroids, **options)  # type: ignore[arg-type]

    return add
