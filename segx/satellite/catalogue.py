"""Find the products of a public STAC catalogue that show the ground of an aerial image.

Nothing is fetched here but the list. The bands are Cloud Optimized GeoTIFFs, of which `convert`
reads the windows that it needs over HTTP.

Needs the extra `satellite`.
"""

import datetime
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import rasterio
import rasterio.warp

from runtime.errors import SatelliteError, brief
from runtime.grid import Grid

from .product import Product
from .stac_items import item_product
from .target import MARGIN_M

CATALOGUE = "https://earth-search.aws.element84.com/v1"
COLLECTION = "sentinel-2-l2a"
MOST_CLOUD = 60.0
"""Products of a larger share of clouds, in percent of the whole tile, are left out."""
MOST_ITEMS = 2000
TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is looked for, and where."""

    aerial: Grid
    year: int
    margin_m: float = MARGIN_M
    most_cloud: float = MOST_CLOUD
    url: str = CATALOGUE
    collection: str = COLLECTION

    @property
    def box(self) -> tuple[float, float, float, float]:
        """West, south, east and north of the ground, in degrees."""
        wide = _wider(self.aerial.bounds, self.margin_m)
        west, south, east, north = rasterio.warp.transform_bounds(
            self.aerial.crs, "EPSG:4326", *wide
        )
        return west, south, east, north


def search(query: Query) -> list[Product]:
    """List the products of a year, the cloudier ones apart.

    Raises:
        SatelliteError: If the catalogue does not answer as a STAC API, or has no such product.
        BandError: If a product lacks a band.
    """
    from pystac.errors import STACError
    from pystac_client import Client
    from pystac_client.exceptions import APIError

    days = (datetime.date(query.year, 1, 1), datetime.date(query.year, 12, 31))
    try:
        found = Client.open(query.url, timeout=TIMEOUT_S).search(
            collections=[query.collection],
            bbox=query.box,
            datetime="/".join(day.isoformat() for day in days),
            max_items=MOST_ITEMS,
        )
        items = list(found.items_as_dicts())
    except (APIError, STACError, OSError, ValueError, KeyError, TypeError) as error:
        raise SatelliteError(
            f"{query.url} does not answer as a STAC catalogue ({brief(error)}); expected a STAC "
            "API with search; check --catalogue and the network"
        ) from error
    clear = [item for item in items if _cloud(item) <= query.most_cloud]
    if not clear:
        raise SatelliteError(
            f"{query.url} lists {len(items)} products of {query.year} for this ground, none with "
            f"{query.most_cloud:g} % of clouds or less; expected some; change --year or --max-cloud"
        )
    products = [item_product(item, str(item.get("id")), _remote) for item in clear]
    for product in products:
        product.check_bands()
    return products


def reading() -> AbstractContextManager[object]:
    """Read remote files while the context is open: no listing of folders, several attempts."""
    context: AbstractContextManager[object] = rasterio.Env(
        GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR",
        GDAL_HTTP_MAX_RETRY=3,
        GDAL_HTTP_RETRY_DELAY=1,
        GDAL_HTTP_TIMEOUT=TIMEOUT_S,
    )
    return context


def _remote(href: str) -> str | None:
    """Say what GDAL opens; assets that only an account can read are passed over."""
    return f"/vsicurl/{href}" if href.startswith(("https://", "http://")) else None


def _cloud(item: Mapping[str, Any]) -> float:
    properties = item.get("properties")
    value = properties.get("eo:cloud_cover") if isinstance(properties, Mapping) else None
    return float(value) if isinstance(value, int | float) else 0.0


def _wider(
    bounds: tuple[float, float, float, float], metres: float
) -> tuple[float, float, float, float]:
    left, bottom, right, top = bounds
    return left - metres, bottom - metres, right + metres, top + metres
