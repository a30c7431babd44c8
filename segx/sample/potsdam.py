"""Write a synthetic data set laid out as ISPRS Potsdam, with the quirks of the real one.

OUT/1_DSM_normalisation/dsm_potsdam_02_10_normalized_lastools.jpg     padded numbers; 03_13 lacks a
                                                                      column
    2_Ortho_RGB/2_Ortho_RGB/top_potsdam_2_10_RGB.tif                  nested twice
    3_Ortho_IRRG/top_potsdam_2_10_IRRG.tif
    5_Labels_all/top_potsdam_2_10_label.tif                           some colours are a little off
    5_Labels_all_noBoundary/top_potsdam_2_10_label_noBoundary.tif     black beside boundaries

One land is painted at 0.2 m, brought to 0.05 m and cut into tiles that lie beside each other as the
real ones do, but are smaller. There is no Sentinel-2: the real images are older.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from runtime.datasets.potsdam_published import CLASSES, CRS, MISLABELLED, RESOLUTION_M

from .aerial import photograph
from .area import build_area
from .classes import COVERS, Cover
from .files import new_folder, write_raster
from .refine import TIMES, refine_image, refine_labels
from .surfaces import Surface

ROWS, COLS = (2, 3, 4), (10, 11, 12, 13)
"""Numbers of the tiles: 2_10 to 4_13, for training, validation and test; 4_12 among them."""

TILE_PX = 1200
"""Rows and columns of a tile unless told otherwise."""
STREAM = 3_000_061
"""Keeps the land apart from that of the other layouts of the same seed."""
FIRST_CORNER = (366_676.5, 5_808_460.3)
"""x and y of the north-western corner of tile 2_10; invented."""

SHORT_TILE = "3_13"
"""Its normalised surface model lacks the last column."""

BOUNDARY_PX = 3
"""How far from a boundary labels are black."""

OFF_COLOR = (252, 255, 0)
"""What some of the cars are drawn in; it is nearest to the colour of cars."""
STRANGE_COLOR = (128, 64, 32)
"""What a corner of the mislabelled tile is drawn in; it is like no class."""

CAR, CLUTTER = 4, 5
CLASS_OF = np.full(COVERS, CLUTTER, dtype=np.uint8)
"""Class by painted cover; what is not named is clutter, and cars are known by their surface."""
for _covers, _value in (
    ((Cover.IMPERVIOUS,), 0),
    ((Cover.BUILDING, Cover.GREENHOUSE), 1),
    (
        (
            *(Cover.BRUSHWOOD, Cover.VINEYARD, Cover.HERBACEOUS, Cover.AGRICULTURAL),
            *(Cover.PLOWED, Cover.CLEAR_CUT, Cover.LIGNEOUS),
        ),
        2,
    ),
    ((Cover.CONIFEROUS, Cover.DECIDUOUS, Cover.MIXED), 3),
):
    CLASS_OF[list(_covers)] = _value


def write_potsdam(
    out: Path,
    *,
    seed: int,
    tile_px: int = TILE_PX,
    on_tile: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a synthetic ISPRS Potsdam.

    Args:
        out: Folder to make; it may exist if it is empty.
        seed: The same seed gives the same files.
        tile_px: Side of a tile, in pixels of 0.05 m; a multiple of 4.
        on_tile: Called with tiles done and tiles in all.

    Returns:
        `out`.

    Raises:
        DataError: If `out` holds something or cannot be written.
        ValueError: If a side is no multiple of 4 px, or below 64 px.
    """
    if tile_px % TIMES or tile_px < 64:
        raise ValueError(f"tiles of {tile_px} px; need a multiple of {TIMES} px, 64 or more")
    rng = np.random.default_rng([seed, STREAM])
    side = tile_px // TIMES
    area = build_area((side * len(ROWS), side * len(COLS)), rng)
    image = photograph(area.fine, rng)
    classes = CLASS_OF[area.fine.cover]
    classes[area.fine.surface == Surface.CAR] = CAR
    names = [(row, col) for row in range(len(ROWS)) for col in range(len(COLS))]
    with new_folder(out, layout="potsdam", seed=seed) as root:
        for done, (row, col) in enumerate(names, start=1):
            window = (slice(row * side, (row + 1) * side), slice(col * side, (col + 1) * side))
            fine = refine_image(image[:, window[0], window[1]])
            _write_images(root, (row, col), fine)
            _write_labels(root, (row, col), refine_labels(classes[window]), rng)
            if on_tile is not None:
                on_tile(done, len(names))
    return out


def _write_images(root: Path, place: tuple[int, int], image: NDArray[np.uint8]) -> None:
    name = _name(place)
    transform = _transform(place, image.shape[1])
    for kind, bands, folder in (
        ("RGB", (0, 1, 2), "2_Ortho_RGB/2_Ortho_RGB"),
        ("IRRG", (3, 0, 1), "3_Ortho_IRRG"),
    ):
        path = _path(root, folder, f"top_potsdam_{name}_{kind}.tif")
        write_raster(path, image[list(bands)], transform, crs=CRS)
    row, col = name.split("_")
    height = image[4:, :, :-1] if name == SHORT_TILE else image[4:]
    padded = f"dsm_potsdam_{int(row):02d}_{int(col):02d}_normalized_lastools.jpg"
    _write_jpeg(_path(root, "1_DSM_normalisation", padded), height)


def _write_labels(
    root: Path, place: tuple[int, int], classes: NDArray[np.uint8], rng: np.random.Generator
) -> None:
    name = _name(place)
    transform = _transform(place, classes.shape[0])
    colors = np.array([item.rgb for item in CLASSES], dtype=np.uint8)[classes].transpose(2, 0, 1)
    off = (classes == CAR) & (rng.random(classes.shape) < 0.1)
    colors[:, off] = np.array(OFF_COLOR, dtype=np.uint8)[:, None]
    if name == MISLABELLED:
        colors[:, :40, :40] = np.array(STRANGE_COLOR, dtype=np.uint8)[:, None, None]
    path = _path(root, "5_Labels_all", f"top_potsdam_{name}_label.tif")
    write_raster(path, colors, transform, crs=CRS)
    inner = np.where(_boundaries(classes), np.uint8(0), colors)
    path = _path(root, "5_Labels_all_noBoundary", f"top_potsdam_{name}_label_noBoundary.tif")
    write_raster(path, inner, transform, crs=CRS)


def _boundaries(classes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels no farther than `BOUNDARY_PX` along a row or column from another class."""
    near = np.zeros(classes.shape, dtype=np.bool_)
    for step in range(1, BOUNDARY_PX + 1):
        down = classes[step:] != classes[:-step]
        right = classes[:, step:] != classes[:, :-step]
        near[step:] |= down
        near[:-step] |= down
        near[:, step:] |= right
        near[:, :-step] |= right
    return near


def _write_jpeg(path: Path, height: NDArray[np.uint8]) -> None:
    """Write an image without a georeference, as the published ones are."""
    size = {"count": 1, "height": height.shape[1], "width": height.shape[2], "dtype": "uint8"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="JPEG", quality=95, **size) as target:
            target.write(height)


def _name(place: tuple[int, int]) -> str:
    return f"{ROWS[place[0]]}_{COLS[place[1]]}"


def _transform(place: tuple[int, int], side: int) -> Affine:
    left = FIRST_CORNER[0] + place[1] * side * RESOLUTION_M
    top = FIRST_CORNER[1] - place[0] * side * RESOLUTION_M
    return Affine(RESOLUTION_M, 0.0, left, 0.0, -RESOLUTION_M, top)


def _path(root: Path, folder: str, name: str) -> Path:
    (root / folder).mkdir(parents=True, exist_ok=True)
    return root / folder / name
