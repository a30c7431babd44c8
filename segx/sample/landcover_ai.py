"""Write a synthetic data set laid out as LandCover.ai v1, with Sentinel-2 beside it.

OUT/images/X-00-1-A-a-1-1.tif         red, green, blue, uint8, 0.25 m, EPSG:2180
    masks/X-00-1-A-a-1-1.tif          0..4, on the same grid
    train.txt, val.txt, test.txt      X-00-1-A-a-1-1_0 ...: tiles of 512 px
    sentinel2/X-00-1-A-a-1-1/S2_YYYYMMDD.tif, S2_YYYYMMDD_masks.tif     EPSG:32634

The land is painted at 0.2 m and averaged to 0.25 m; the classes are derived from the painted ones.
As published, images are no multiple of 512 px, and the tiles of one image are spread over the
lists. Sheets named X-00 do not exist.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.datasets.landcover_ai import BANDS, CRS, IMAGES, LISTS, MASKS, LandCoverAi
from runtime.scene import SATELLITE_FOLDER

from .aerial import AERIAL_M, photograph
from .area import build_area
from .classes import COVERS, Cover
from .coarsen import PAINTED, WRITTEN, coarsen_image, coarsen_labels
from .files import new_folder, write_raster
from .place import Place, write_year

RESOLUTION_M = AERIAL_M * PAINTED / WRITTEN
SHEET_PX = (1120, 1600)
"""Rows and columns of an image unless told otherwise."""
STREAM = 2_000_003
"""Keeps the land apart from that of the other layouts of the same seed."""
FIRST_CORNER = (536_240.5, 448_730.25)
"""x and y of the first image's north-western corner, in EPSG:2180; in Mazovia."""
SHEET_STEP_M = (5_120.75, -2_840.5)
"""From one image's corner to the next."""
S2_CRS = "EPSG:32634"
HELD_OUT = 0.15
"""Share of the tiles in the validation list, and in the test list, as published."""

CLASS_OF = np.zeros(COVERS, dtype=np.uint8)
"""Class in the masks by painted cover; what is not named is background."""
for _covers, _value in (
    ((Cover.BUILDING, Cover.GREENHOUSE), 1),
    ((Cover.CONIFEROUS, Cover.DECIDUOUS, Cover.MIXED), 2),
    ((Cover.WATER, Cover.SWIMMING_POOL), 3),
    ((Cover.IMPERVIOUS,), 4),
):
    CLASS_OF[list(_covers)] = _value


def write_landcover_ai(
    out: Path,
    *,
    seed: int,
    sheets: int = 4,
    shape: tuple[int, int] = SHEET_PX,
    on_sheet: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a synthetic LandCover.ai data set.

    Args:
        out: Folder to make; it may exist if it is empty.
        seed: The same seed gives the same files.
        sheets: Images, each with its own land and Sentinel-2 series.
        shape: Rows and columns of each image, in pixels of 0.25 m.
        on_sheet: Called with images done and images in all.

    Returns:
        `out`.

    Raises:
        DataError: If `out` holds something or cannot be written.
        ValueError: If a side is no multiple of 4 px, or there are fewer than three tiles in all.
    """
    tiles = sheets * (shape[0] // 512) * (shape[1] // 512)
    if any(side % WRITTEN for side in shape) or tiles < len(LISTS):
        raise ValueError(
            f"{sheets} images of {shape[0]} x {shape[1]} px; need multiples of {WRITTEN} px and "
            f"{len(LISTS)} tiles or more"
        )
    with new_folder(out, layout="landcover-ai", seed=seed) as root:
        (root / IMAGES).mkdir()
        (root / MASKS).mkdir()
        for number in range(sheets):
            rng = np.random.default_rng([seed, STREAM, number])
            _write_sheet(root, number, shape, rng)
            if on_sheet is not None:
                on_sheet(number + 1, sheets)
        _write_lists(root, np.random.default_rng([seed, STREAM]))
    return out


def _write_sheet(root: Path, number: int, shape: tuple[int, int], rng: np.random.Generator) -> None:
    name = f"X-00-{number + 1}-A-a-1-1"
    corner = tuple(
        start + number * step for start, step in zip(FIRST_CORNER, SHEET_STEP_M, strict=True)
    )
    place = Place(corner=(corner[0], corner[1]), crs=CRS, s2_crs=S2_CRS)
    area = build_area((_painted(shape[0]), _painted(shape[1])), rng)
    image = coarsen_image(photograph(area.fine, rng)[: len(BANDS)])
    masks = coarsen_labels(_classes(area.fine.cover))[None]
    transform = place.transform(RESOLUTION_M)
    write_raster(root / IMAGES / f"{name}.tif", image, transform, bands=BANDS, crs=CRS)
    write_raster(root / MASKS / f"{name}.tif", masks, transform, crs=CRS)
    size_m = shape[0] * RESOLUTION_M, shape[1] * RESOLUTION_M
    write_year(root / SATELLITE_FOLDER / name, area, place, size_m, rng)


def _painted(side: int) -> int:
    """Side in painted pixels of the same length."""
    return side // WRITTEN * PAINTED


def _classes(cover: NDArray[np.uint8]) -> NDArray[np.uint8]:
    classes: NDArray[np.uint8] = CLASS_OF[cover]
    return classes


def _write_lists(root: Path, rng: np.random.Generator) -> None:
    """Draw tiles for validation and test; the rest is for training."""
    names = np.array(list(LandCoverAi(root).tiles))
    count = max(1, round(HELD_OUT * len(names)))
    order = rng.permutation(len(names))
    drawn = np.split(order, [len(names) - 2 * count, len(names) - count])
    for split, places in zip(LISTS, drawn, strict=True):
        lines = "".join(f"{name}\n" for name in sorted(names[places]))
        (root / f"{split}.txt").write_text(lines, encoding="utf-8")
