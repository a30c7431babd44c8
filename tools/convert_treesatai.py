"""Turn TreeSatAI-TS pairs into scene folders that `segx infer` takes.

    python tools/convert_treesatai.py TREESATAI OUT

TREESATAI holds `aerial/*.tif` (304 x 304 px, 0.2 m, EPSG:25832, bands nir, green, blue, red) and
`sentinel-ts/*.h5` (6 x 6 px series). Each pair becomes `OUT/<aerial name>/aerial.tif` with
`sentinel2/S2_YYYYMMDD.tif` and its masks. What the pairs lack is substituted by these rules, and
every rule that was used is written into the tag `SUBSTITUTED` of `aerial.tif`, which `segx infer`
writes into its maps, and into `CONVERSION.txt`:

* bands: reordered to red, green, blue, nir;
* elevation: none is published, so the band is 0 (ground level) everywhere;
* place of the series: the files hold none, so the 6 x 6 cells of 10 m are centred on the aerial
  image, aligned to its axes, in its CRS; `segx infer` repeats border cells beyond them;
* days with several products: the first one listed is taken;
* masks of another shape than (dates, 2, 6, 6): left out, so that every date counts as clear;
* digital numbers: rounded to integers; products of baseline 04.00 and later do not occur.

Data: TreeSatAI (Ahlswede et al. 2023, ESSD 15, 681), TreeSatAI-TS (Astruc et al. 2024), CC-BY-4.0.
"""

import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import rasterio
import typer
from affine import Affine
from numpy.typing import NDArray

from runtime.errors import DataError, SegxError
from runtime.products import parse_product
from runtime.radiometry import PRODUCT_TAG
from runtime.raster import RasterReader
from runtime.sample import AERIAL_BANDS
from runtime.satellite import BANDS

AERIAL_ORDER = ("nir", "green", "blue", "red")
CELL_M = 10.0


def convert(source: Path, out: Path) -> list[Path]:
    """Convert every pair of a TreeSatAI-TS folder.

    Raises:
        DataError: If a file is missing or of another kind.
    """
    images = sorted((source / "aerial").glob("*.tif"))
    if not images:
        raise DataError(f"{source} holds no aerial/*.tif; expected TreeSatAI-TS; check the path")
    return [convert_pair(image, _series_of(source, image), out / image.stem) for image in images]


def convert_pair(image: Path, series: Path, out: Path) -> Path:
    """Convert one aerial image and its series into the scene folder `out`."""
    with RasterReader(image) as reader:
        info, pixels = reader.info, reader.read_all()
    if info.count != len(AERIAL_ORDER) or info.dtype != "uint8":
        raise DataError(
            f"{image} is {info.dtype} with {info.count} bands; expected uint8 with "
            f"{', '.join(AERIAL_ORDER)}; give the files as published"
        )
    rules = ["elevation band: 0 (none published)", "Sentinel-2 place: centred on the aerial image"]
    (out / "sentinel2").mkdir(parents=True, exist_ok=True)
    rules += _write_series(series, out / "sentinel2", info.grid.centre, info.grid.crs)
    ordered = [pixels[AERIAL_ORDER.index(band)] for band in AERIAL_BANDS[:-1]]
    _write(
        out / "aerial.tif",
        np.stack([*ordered, np.zeros_like(pixels[0])]),
        info.grid.transform,
        info.grid.crs,
        AERIAL_BANDS,
        {"SUBSTITUTED": "; ".join(rules)},
    )
    (out / "CONVERSION.txt").write_text("\n".join([str(image), str(series), *rules]) + "\n")
    return out


def _series_of(source: Path, image: Path) -> Path:
    found = sorted((source / "sentinel-ts").glob(f"{image.stem}*.h5"))
    if len(found) != 1:
        raise DataError(
            f"{source}/sentinel-ts holds {len(found)} files {image.stem}*.h5; expected one; "
            "complete the folder"
        )
    return found[0]


def _write_series(series: Path, out: Path, centre: tuple[float, float], crs: Any) -> list[str]:
    """Write one pair of files per day; returns the rules that had to be used."""
    with h5py.File(series, "r") as file:
        data: NDArray[Any] = file["sen-2-data"][()]
        masks: NDArray[Any] = file["sen-2-masks"][()]
        products = [_text(name) for name in file["sen-2-products"][()].ravel()]
    if data.ndim != 4 or data.shape[:2] != (len(products), len(BANDS)):
        raise DataError(
            f"{series} holds a series of shape {data.shape} for {len(products)} products; "
            f"expected (dates, {len(BANDS)}, rows, cols)"
        )
    rows, cols = data.shape[2:]
    left, top = centre[0] - cols / 2 * CELL_M, centre[1] + rows / 2 * CELL_M
    transform = Affine(CELL_M, 0, left, 0, -CELL_M, top)
    has_masks = masks.shape == (len(products), 2, rows, cols)
    rules = [] if has_masks else [f"masks of shape {masks.shape}: left out, all dates clear"]
    seen = set()
    for index, product in enumerate(products):
        day, _ = parse_product(product, where=str(series))
        if day in seen:
            continue
        seen.add(day)
        stem = f"S2_{day:%Y%m%d}"
        dn = np.rint(data[index]).clip(0, 65535).astype(np.uint16)
        _write(out / f"{stem}.tif", dn, transform, crs, BANDS, {PRODUCT_TAG: product}, nodata=0)
        if has_masks:
            cover = np.nan_to_num(masks[index]).clip(0, 100).astype(np.uint8)
            names = ("snow_probability", "cloud_probability")
            _write(out / f"{stem}_masks.tif", cover, transform, crs, names, {})
    if len(seen) < len(products):
        rules.append(f"{len(products) - len(seen)} more products of the same days: left out")
    return rules


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _write(
    path: Path,
    pixels: NDArray[Any],
    transform: Affine,
    crs: Any,
    bands: tuple[str, ...],
    tags: dict[str, str],
    nodata: int | None = None,
) -> None:
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=pixels.shape[0],
        height=pixels.shape[1],
        width=pixels.shape[2],
        dtype=pixels.dtype,
        crs=crs,
        transform=transform,
        nodata=nodata,
        compress="deflate",
    ) as dataset:
        dataset.write(pixels)
        dataset.update_tags(**tags)
        dataset.descriptions = bands


def main(source: Path, out: Path) -> None:
    """Convert TreeSatAI-TS pairs into scene folders."""
    try:
        for folder in convert(source, out):
            typer.echo(f"wrote {folder}; next: segx infer {folder}")
    except SegxError as error:
        typer.echo(f"convert_treesatai: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
