"""`segx satellite`: bring Sentinel-2 into the layout that the other commands read."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from runtime.geoseries import GeoSeries
    from runtime.grid import Grid

    from ..satellite import Converted, Product


def satellite(
    aerial: Annotated[
        Path | None,
        typer.Argument(help="Aerial image; only the ground around it is taken. Default: all."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Products on disk: .SAFE folders or zips, STAC items, files of one band each.",
        ),
    ] = None,
    year: Annotated[
        int | None,
        typer.Option(min=2015, max=2100, help="Fetch the dates of this year from a catalogue."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to make.")] = Path("sentinel2"),
    margin: Annotated[
        float, typer.Option(min=0.0, help="Ground around the aerial image, in metres.")
    ] = 400.0,
    max_cloud: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=100.0, help="Leave out products with more clouds, in %.  [default: 60]"
        ),
    ] = None,
    catalogue: Annotated[
        str | None, typer.Option(help="STAC API to ask.  [default: Earth Search]")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="Also write what was made to this file.")
    ] = None,
) -> None:
    """Write Sentinel-2 products as a series: S2_YYYYMMDD.tif with S2_YYYYMMDD_masks.tif.

    They come from a folder (--from), or for the ground of an aerial image from a public STAC
    catalogue (--year), of which only that ground is read. No other command uses the network.

    Digital numbers stay as they are; tags keep what is known of the radiometric offset. Bands of
    20 m give each pixel to four cells of 10 m.

    Example: segx satellite ortho.tif --from downloads/ --out sentinel2
    """
    from runtime.geoseries import open_series
    from runtime.raster import describe

    from ..console import chosen, done, progress, write_json
    from ..satellite import Source, convert, find_products
    from ..satellite.catalogue import reading

    if (source is None) == (year is None):
        raise typer.BadParameter("give one of --from DIR and --year Y", param_hint="--from")
    if source is not None and (max_cloud is not None or catalogue is not None):
        raise typer.BadParameter(
            "--max-cloud and --catalogue are for --year; leave them out", param_hint="--from"
        )
    grid = None if aerial is None else describe(aerial).grid
    if year is not None:
        products, where = _listed(grid, year, margin, max_cloud, catalogue)
    elif source is not None:
        products, where = find_products(source), str(source)
    chosen("products", len(products), where)
    _say_ground(grid, margin)
    with reading(), progress("dates") as advance:
        written, left_out = convert(
            Source(products=products, aerial=grid, margin_m=margin), out, advance
        )
    series = open_series(out)
    _print(written, left_out, series)
    if json is not None:
        write_json(json, _summary(written, left_out, series))
    image = "INPUT" if aerial is None else aerial
    done(out, f"segx infer {image} --satellite {out}")


def _listed(
    grid: "Grid | None", year: int, margin: float, max_cloud: float | None, url: str | None
) -> "tuple[list[Product], str]":
    """Ask the catalogue for products, and say of which one."""
    from ..extras import require
    from ..satellite.catalogue import CATALOGUE, MOST_CLOUD, Query, search

    if grid is None:
        raise typer.BadParameter("--year needs the aerial image", param_hint="AERIAL")
    require("satellite", "segx satellite --year")
    cloud, asked = MOST_CLOUD if max_cloud is None else max_cloud, url or CATALOGUE
    query = Query(aerial=grid, year=year, margin_m=margin, most_cloud=cloud, url=asked)
    return search(query), f"{asked}, {year}, clouds up to {cloud:g} %"


def _say_ground(grid: "Grid | None", margin: float) -> None:
    from ..console import chosen

    if grid is None:
        chosen("ground", "all of the products", "no aerial image named")
    else:
        chosen("ground", f"the aerial image and {margin:g} m around it")


def _print(written: "list[Converted]", left_out: "list[Product]", series: "GeoSeries") -> None:
    from ..console import chosen, say, table

    rows, cols = series.shape
    chosen("grid", f"{rows} x {cols} cells of 10 m", series.grid.crs.to_string())
    offsets = {item.day: item for item in series.radiometry}
    table(
        ["date", "products", "cloud and snow from", "offset", "found by"],
        [
            [
                str(item.day),
                len(item.products),
                item.screening,
                offsets[item.day].dn,
                offsets[item.day].origin,
            ]
            for item in written
        ],
    )
    if any(item.screening == "none" for item in written):
        say("no cloud screening where cloud and snow come from none: such dates count as clear")
    for product in left_out:
        say(f"left out: {product.name}, an earlier processing of the same day and tile")


def _summary(
    written: "list[Converted]", left_out: "list[Product]", series: "GeoSeries"
) -> dict[str, object]:
    return {
        "out": series.name,
        "crs": series.grid.crs.to_string(),
        "shape": list(series.shape),
        "dates": [
            {
                "day": item.day,
                "products": item.products,
                "cloud_screening": item.screening,
                "offset": offset.dn,
                "offset_origin": offset.origin,
            }
            for item, offset in zip(written, series.radiometry, strict=True)
        ],
        "left_out": [product.name for product in left_out],
    }
