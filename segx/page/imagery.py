"""Read what the pictures of a page show: the middle of a scene, from images, series and maps."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.card import ModelCard
from runtime.datasets.flair import CLASSES, class_indices
from runtime.datasets.scene_dataset import check_labels
from runtime.grid import Grid
from runtime.output.kinds import class_map, confidence_map
from runtime.raster import RasterReader
from runtime.satellite import NotSeenError
from runtime.scene import SCENE_AERIAL, SCENE_LABELS, Scene

MOST_PX = 1536
"""Side of what is shown, in aerial pixels, at most."""
PICTURE_PX = 512
"""Side of a picture, at most."""
TRUE_COLOUR = ("B04", "B03", "B02")
STRETCH = 2, 98
"""Percentiles that become black and white in what has no fixed range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """What is shown of a raster, in its pixels."""

    row: int
    col: int
    height: int
    width: int

    @property
    def step(self) -> int:
        """Pixels of the raster per pixel of a picture."""
        return math.ceil(max(self.height, self.width) / PICTURE_PX)


@dataclass(frozen=True, slots=True, kw_only=True)
class SatelliteView:
    """The cloud-free median of a year over the crop."""

    pixels: NDArray[np.uint8]
    """Red, green, blue, shape (h, w, 3)."""
    text: str
    """What it is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the pictures have in common: the crop, and what is known of it without a model."""

    crop: Crop
    grid: Grid
    """Of the crop."""
    aerial: NDArray[np.uint8]
    """Red, green, blue, or grey three times, shape (H, W, 3), in picture pixels."""
    satellite: SatelliteView | None
    without_satellite: str
    """Why there is no such picture; empty where there is one."""
    labels: NDArray[np.uint8] | None
    """Class indices, 255: none; shape of the crop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapView:
    """A map of the crop."""

    label: str
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    classes: NDArray[np.uint8]
    """Class indices, 255: none; shape of the crop."""
    confidence: NDArray[np.uint8] | None
    """0 to 254 of 1, 255: none."""


def middle(shape: tuple[int, int]) -> Crop:
    """Choose the middle of a raster of some height and width."""
    height, width = (min(side, MOST_PX) for side in shape)
    return Crop(
        row=(shape[0] - height) // 2,
        col=(shape[1] - width) // 2,
        height=height,
        width=width,
    )


def read_view(scene: Scene, card: ModelCard, bands: tuple[int, ...] | None) -> View:
    """Read the middle of a scene.

    Args:
        scene: The scene.
        card: The model that maps it, whose bands are shown.
        bands: Bands of the file in the model's order; None for all as they are.

    Raises:
        DataError: If a file is damaged.
    """
    with scene.open() as reader:
        crop = middle(reader.info.grid.shape)
        chosen = _colours(card.aerial.bands, bands, reader.info.count)
        window = (crop.row, crop.col, crop.height, crop.width)
        pixels = reader.read(*window, bands=chosen)
        grid = reader.info.grid
    satellite, without = _satellite(scene, card, grid, crop)
    return View(
        crop=crop,
        grid=grid.crop(*window),
        aerial=_photograph(pixels, crop.step),
        satellite=satellite,
        without_satellite=without,
        labels=_labels(scene, card, grid, window),
    )


def _colours(model: tuple[str, ...], bands: tuple[int, ...] | None, count: int) -> tuple[int, ...]:
    order = tuple(range(len(model))) if bands is None else bands
    by_name = dict(zip(model, order, strict=False))
    found = tuple(by_name[name] for name in ("red", "green", "blue") if name in by_name)
    return found if len(found) == 3 and max(found) < count else (0,)


def _photograph(pixels: NDArray[Any], step: int) -> NDArray[np.uint8]:
    """Shrink bands of shape (1 or 3, H, W) to a picture of shape (h, w, 3)."""
    small = _shrunk(pixels.astype(np.float32), step)
    if pixels.dtype != np.uint8:
        small = _stretched(small)
    picture = np.moveaxis(np.clip(np.rint(small), 0, 255).astype(np.uint8), 0, -1)
    return np.ascontiguousarray(np.broadcast_to(picture, (*picture.shape[:2], 3)))


def _shrunk(bands: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Average squares of pixels; those that are not whole, at the right and lower edge, go."""
    count, height, width = bands.shape
    rows, cols = max(height // step, 1), max(width // step, 1)
    step_y, step_x = min(step, height), min(step, width)
    cut = bands[:, : rows * step_y, : cols * step_x]
    mean: NDArray[np.float32] = cut.reshape(count, rows, step_y, cols, step_x).mean(axis=(2, 4))
    return mean


def _stretched(bands: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = np.percentile(bands, STRETCH)
    scaled: NDArray[np.float32] = 255 * (bands - low) / max(high - low, 1e-6)
    return scaled


def _satellite(
    scene: Scene, card: ModelCard, grid: Grid, crop: Crop
) -> tuple[SatelliteView | None, str]:
    """Take the median of monthly means, made as the model's input is made; or say why not."""
    spec = card.satellite
    if scene.satellite is None or spec is None:
        return None, "the map was made without it"
    if not set(TRUE_COLOUR) <= set(spec.bands):
        return None, f"the model takes no {', '.join(TRUE_COLOUR)}"
    cells = max(round(max(crop.height, crop.width) * grid.resolution_m / spec.cell_m), 1)
    centre = crop.row + crop.height / 2, crop.col + crop.width / 2
    try:
        year = scene.satellite.prepare(grid, *centre, replace(spec, window=cells))
    except NotSeenError:
        return None, "no date shows this place"
    months = year.series[year.date_mask > 0]
    bands = np.median(months[:, [spec.bands.index(name) for name in TRUE_COLOUR]], axis=0)
    rows, cols = (
        max(round(cells * side / max(crop.height, crop.width)), 1)
        for side in (crop.height, crop.width)
    )
    top, left = (cells - rows) // 2, (cells - cols) // 2
    shown = _stretched(bands[:, top : top + rows, left : left + cols])
    kind = "clear" if year.clear else "covered"
    view = SatelliteView(
        pixels=np.moveaxis(np.clip(shown, 0, 255).astype(np.uint8), 0, -1),
        text=f"median of {len(months)} monthly means of {len(year.dates_used)} {kind} dates, "
        f"cells of {spec.cell_m:g} m",
    )
    return view, ""


def _labels(
    scene: Scene, card: ModelCard, grid: Grid, window: tuple[int, int, int, int]
) -> NDArray[np.uint8] | None:
    path = labels_of(scene, card)
    if path is None:
        return None
    with RasterReader(path) as reader:
        check_labels(reader.info, grid)
        return class_indices(reader.read(*window)[0], where=str(path))


def labels_of(scene: Scene, card: ModelCard) -> Path | None:
    """Find the labels of a scene folder; None where there are none of the model's classes."""
    path = scene.aerial.with_name(SCENE_LABELS)
    same = [item.name for item in card.classes] == [item.name for item in CLASSES]
    return path if same and scene.aerial.name == SCENE_AERIAL and path.is_file() else None


def map_path(scene: Scene, card: ModelCard, folder: Path) -> Path:
    """Give the place of a scene's class map."""
    return folder / f"{scene.aerial.stem}_{class_map(card.classes).suffix}.tif"


def read_map(label: str, scene: Scene, card: ModelCard, folder: Path, crop: Crop) -> MapView:
    """Read the crop of a scene's map, and of its confidence where that was written.

    Raises:
        DataError: If a map is missing or damaged.
    """
    window = (crop.row, crop.col, crop.height, crop.width)
    with RasterReader(map_path(scene, card, folder)) as reader:
        classes = reader.read(*window)[0]
    sure, confidence = folder / f"{scene.aerial.stem}_{confidence_map().suffix}.tif", None
    if sure.is_file():
        with RasterReader(sure) as reader:
            confidence = reader.read(*window)[0]
    return MapView(
        label=label,
        names=tuple(item.name for item in card.classes),
        colors=tuple(item.rgb for item in card.classes),
        classes=classes,
        confidence=confidence,
    )
