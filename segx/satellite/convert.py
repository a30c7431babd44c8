"""Write products as a series: one GeoTIFF of ten bands per day, and one of snow and cloud."""

import datetime
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from numpy.typing import NDArray

from runtime.errors import DataError, GridError
from runtime.grid import Grid
from runtime.satellite import BANDS

from .classes import cover_of_classes
from .layers import OpenLayer, empty_bands, grid_of
from .product import CLASSES, CLOUD, SNOW, Product, choose
from .target import MARGIN_M, margin_grid, whole_grid

MASK_BANDS = ("snow_probability", "cloud_probability")
STRIP_ROWS = 512
"""Rows that are held in memory at a time."""
SCREENING_TAG = "CLOUD_SCREENING"

Screening = Literal["probabilities", "scene classification", "none"]
"""What snow and cloud come from."""

OnDate = Callable[[int, int], None]
"""Called with the dates written and the dates in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is converted, and for which ground."""

    products: list[Product]
    aerial: Grid | None = None
    """Image around which the products are cut; None takes them whole."""
    margin_m: float = MARGIN_M


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """One date of a series that was written."""

    day: datetime.date
    products: tuple[str, ...]
    """Where it comes from; the first shows where several do."""
    screening: Screening


def convert(source: Source, out: Path, on_date: OnDate) -> tuple[list[Converted], list[Product]]:
    """Write products as `S2_YYYYMMDD.tif` and `S2_YYYYMMDD_masks.tif` on one grid.

    Digital numbers stay as they are; what is known of their radiometric offset is written into the
    tags. Products of one day, of neighbouring tiles, become one file.

    Args:
        source: What is converted.
        out: Folder to make; it takes its name once all is written.
        on_date: Told how far the work is.

    Returns:
        What was written, and the products that a later baseline stands for.

    Raises:
        SatelliteError: If products do not belong together.
        GridError: If none shows the ground of the image.
        DataError: If a file is damaged, or `out` holds something.
    """
    shown, grid = _on_ground(source)
    days, left_out = choose(shown)
    written = []
    with _new_folder(out) as folder:
        for number, (day, products) in enumerate(days.items(), start=1):
            seen = _write_day(folder, day, products, grid)
            if seen is not None:
                written.append(seen)
            on_date(number, len(days))
        if not written:
            raise GridError(
                f"none of the {len(days)} dates shows the ground of the aerial image; expected "
                "products of that ground; check AERIAL and the folder"
            )
    return written, left_out


def _on_ground(source: Source) -> tuple[list[Product], Grid]:
    """Give the products that show the image, and the grid of the series."""
    products = sorted(source.products, key=lambda item: (item.day, item.name))
    grids = [grid_of(item.layers["B02"]) for item in products]
    if source.aerial is None:
        return products, whole_grid(grids)
    shown = [
        (item, grid)
        for item, grid in zip(products, grids, strict=True)
        if source.aerial.overlaps(grid)
    ]
    if not shown:
        raise GridError(
            f"none of the {len(products)} products shows the ground of the aerial image; expected "
            "products of that ground; check AERIAL and the folder"
        )
    return [item for item, _ in shown], margin_grid(source.aerial, shown[0][1], source.margin_m)


def _write_day(
    folder: Path, day: datetime.date, products: list[Product], grid: Grid
) -> Converted | None:
    """Write one date; nothing where no product shows any of the ground."""
    stem, screening = f"S2_{day:%Y%m%d}", _screening(products)
    bands, masks = folder / f"{stem}.tif", folder / f"{stem}_masks.tif"
    tags = {
        "ACQUISITION_DATE": day.isoformat(),
        SCREENING_TAG: screening,
        **products[0].tags,
    }
    filled = False
    with ExitStack() as stack:
        opened = [_OpenProduct(item, grid, stack) for item in products]
        target = stack.enter_context(_create(bands, grid, BANDS, "uint16", tags))
        cover = None
        if screening != "none":
            cover = stack.enter_context(_create(masks, grid, MASK_BANDS, "uint8", {}))
        for row in range(0, grid.shape[0], STRIP_ROWS):
            rows = min(STRIP_ROWS, grid.shape[0] - row)
            dn, covered = _read_strip(opened, row, rows, grid.shape[1])
            filled |= bool(dn.any())
            window = rasterio.windows.Window(0, row, grid.shape[1], rows)
            target.write(dn, window=window)
            if cover is not None:
                cover.write(covered, window=window)
    if not filled:
        bands.unlink()
        masks.unlink(missing_ok=True)
        return None
    return Converted(day=day, products=tuple(item.name for item in products), screening=screening)


class _OpenProduct:
    """The layers of one product on the grid of the series."""

    def __init__(self, product: Product, grid: Grid, stack: ExitStack) -> None:
        self.bands = [
            stack.enter_context(OpenLayer(product.layers[band], grid, band=True)) for band in BANDS
        ]
        probabilities = CLOUD in product.layers and SNOW in product.layers
        wanted = (CLOUD, SNOW) if probabilities else (CLOUD, SNOW, CLASSES)
        self.extras = {
            name: stack.enter_context(OpenLayer(product.layers[name], grid, band=False))
            for name in wanted
            if name in product.layers
        }

    def dn(self, row: int, rows: int, cols: int) -> NDArray[np.uint16]:
        """Digital numbers, shape (B, rows, cols)."""
        strip = [layer.read(row, rows, cols).clip(0) for layer in self.bands]
        return np.stack(strip).astype(np.uint16)

    def cover(self, row: int, rows: int, cols: int) -> NDArray[np.uint8]:
        """Probability of snow and cloud, 0 to 100, shape (2, rows, cols)."""
        read = {
            name: layer.read(row, rows, cols).clip(0, 255).astype(np.uint8)
            for name, layer in self.extras.items()
        }
        snow = cloud = np.zeros((rows, cols), dtype=np.uint8)
        if CLASSES in read:
            snow, cloud = cover_of_classes(read[CLASSES])
        snow, cloud = read.get(SNOW, snow), read.get(CLOUD, cloud)
        return np.stack([snow, cloud]).clip(0, 100)


def _read_strip(
    opened: list[_OpenProduct], row: int, rows: int, cols: int
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Read rows of a day: where a product lacks a band or all, one that has them stands in."""
    dn = empty_bands(rows, cols)
    cover = np.zeros((2, rows, cols), dtype=np.uint8)
    for product in opened:
        missing = ~dn.all(axis=0)
        if not missing.any():
            break
        other = product.dn(row, rows, cols)
        missing &= other.all(axis=0) | (other.any(axis=0) & ~dn.any(axis=0))
        dn[:, missing] = other[:, missing]
        cover[:, missing] = product.cover(row, rows, cols)[:, missing]
    return dn, cover


def _screening(products: list[Product]) -> Screening:
    """What all products of a day have in common to tell clouds by."""
    if all(CLOUD in item.layers for item in products):
        return "probabilities"
    if all(CLOUD in item.layers or CLASSES in item.layers for item in products):
        return "scene classification"
    return "none"


def _create(
    path: Path, grid: Grid, bands: tuple[str, ...], dtype: str, tags: dict[str, str]
) -> Any:
    target = rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(bands),
        height=grid.shape[0],
        width=grid.shape[1],
        dtype=dtype,
        crs=grid.crs,
        transform=grid.transform,
        nodata=0 if dtype == "uint16" else None,
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        predictor=2,
        interleave="pixel",
    )
    target.update_tags(**tags)
    for index, name in enumerate(bands, start=1):
        target.set_band_description(index, name)
    return target


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Give a folder to fill beside `out`; it takes that name once all is written.

    Raises:
        DataError: If `out` is a file, holds something or cannot be made.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(
            f"{out} is there and not empty; expected a new or empty folder, so that all dates "
            "share one grid; give another --out"
        )
    staging = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise DataError(
            f"{out} cannot be made ({error.strerror}); expected a folder that may be written; give "
            "another --out"
        ) from error
    try:
        yield staging
        if out.exists():
            out.rmdir()
        staging.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
