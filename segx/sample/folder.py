"""Write a synthetic folder of images and labels, as a user would hold them.

OUT/dataset.toml
    images/field-1.tif          red, green, blue, near infrared, uint8, 0.2 m
    labels/field-1.tif          class values, on the same grid; 0 is ignored
    sentinel2/field-1/S2_YYYYMMDD.tif, S2_YYYYMMDD_masks.tif

Images have several sizes; the last is smaller than a tile of 512 px.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.datasets.folder_images import IMAGES, LABELS
from runtime.datasets.folder_settings import SETTINGS
from runtime.scene import SATELLITE_FOLDER

from .aerial import AERIAL_M, photograph
from .area import build_area
from .classes import COVERS, Cover
from .files import AERIAL_BANDS, AERIAL_CRS, new_folder, write_raster
from .place import Place, write_year

SIZES = ((900, 1200), (640, 1024), (1100, 700), (480, 640))
"""Rows and columns of the images unless told otherwise."""
STREAM = 5_000_011
"""Keeps the land apart from that of the other layouts of the same seed."""
FIRST_CORNER = (851_310.2, 6_530_422.8)
"""x and y of the first image's north-western corner, in EPSG:2154."""
STEP_M = (3_170.4, -2_044.8)
"""From one image's corner to the next."""
S2_CRS = "EPSG:32631"
UNKNOWN_PX = 8
"""Rows at the top of the labels that nobody has labelled."""

CLASSES: tuple[tuple[str, str, int, tuple[Cover, ...]], ...] = (
    ("built", "#d73027", 10, (Cover.BUILDING, Cover.IMPERVIOUS, Cover.GREENHOUSE)),
    ("trees", "#1a9850", 20, (Cover.CONIFEROUS, Cover.DECIDUOUS, Cover.MIXED, Cover.LIGNEOUS)),
    ("water", "#4575b4", 30, (Cover.WATER, Cover.SWIMMING_POOL)),
    ("open land", "#fee08b", 40, ()),
)
"""Name, colour, value and painted covers of each class; the last holds whatever is left."""

VALUE_OF = np.full(COVERS, CLASSES[-1][2], dtype=np.uint8)
for _, _, _value, _covers in CLASSES[:-1]:
    VALUE_OF[list(_covers)] = _value


def write_folder(
    out: Path,
    *,
    seed: int,
    sizes: tuple[tuple[int, int], ...] = SIZES,
    on_image: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a synthetic folder of images and labels.

    Args:
        out: Folder to make; it may exist if it is empty.
        seed: The same seed gives the same files.
        sizes: Rows and columns of each image, in pixels of 0.2 m.
        on_image: Called with images done and images in all.

    Returns:
        `out`.

    Raises:
        DataError: If `out` holds something or cannot be written.
        ValueError: If there are fewer than two images, or a side is below 64 px.
    """
    if len(sizes) < 2 or min(min(size) for size in sizes) < 64:
        raise ValueError(f"images of {sizes} px; need two or more of 64 px or more on each side")
    with new_folder(out, layout="folder", seed=seed) as root:
        (root / IMAGES).mkdir()
        (root / LABELS).mkdir()
        (root / SETTINGS).write_text(_settings(), encoding="utf-8")
        for number, shape in enumerate(sizes):
            _write_image(root, number, shape, np.random.default_rng([seed, STREAM, number]))
            if on_image is not None:
                on_image(number + 1, len(sizes))
    return out


def _write_image(root: Path, number: int, shape: tuple[int, int], rng: np.random.Generator) -> None:
    name = f"field-{number + 1}"
    corner = (FIRST_CORNER[0] + number * STEP_M[0], FIRST_CORNER[1] + number * STEP_M[1])
    place = Place(corner=corner, crs=AERIAL_CRS, s2_crs=S2_CRS)
    area = build_area(shape, rng)
    transform = place.transform(AERIAL_M)
    image = photograph(area.fine, rng)[:4]
    write_raster(root / IMAGES / f"{name}.tif", image, transform, bands=AERIAL_BANDS[:4])
    labels: NDArray[np.uint8] = VALUE_OF[area.fine.cover]
    labels[:UNKNOWN_PX] = 0
    write_raster(root / LABELS / f"{name}.tif", labels[None], transform)
    size_m = shape[0] * AERIAL_M, shape[1] * AERIAL_M
    write_year(root / SATELLITE_FOLDER / name, area, place, size_m, rng)


def _settings() -> str:
    classes = (
        f'\n[[classes]]\nname = "{name}"\ncolor = "{color}"\nvalue = {value}\n'
        for name, color, value, _ in CLASSES
    )
    return 'licence = "none: synthetic data"\nignore = [0]\n' + "".join(classes)
