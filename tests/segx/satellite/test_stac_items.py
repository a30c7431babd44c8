"""Items are understood by the keys that public catalogues give to their assets."""

from collections.abc import Iterable
from typing import Any

import pytest

from runtime.radiometry import Offset
from runtime.satellite import BANDS
from segx.satellite.stac_items import item_product

COMMON = (
    *("blue", "green", "red", "rededge1", "rededge2", "rededge3"),
    *("nir", "nir08", "swir16", "swir22"),
)
EARTH_SEARCH = [
    f"{key}{form}"
    for key in (*COMMON, "aot", "coastal", "nir09", "scl", "visual", "wvp")
    for form in ("", "-jp2")
]
PLANETARY_COMPUTER = ["AOT", "B01", *BANDS, "B09", "SCL", "WVP", "preview", "visual"]
FINE = ("B02", "B03", "B04", "B08")
COPERNICUS = [
    *(f"{band}_{size}" for band in FINE for size in ("10m", "20m", "60m")),
    *(f"{band}_{size}" for band in BANDS if band not in FINE for size in ("20m", "60m")),
    *("AOT_10m", "B01_20m", "B09_60m", "SCL_20m", "SCL_60m", "TCI_10m", "WVP_10m", "product"),
]


def item(keys: Iterable[str], **properties: object) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": "S2A_MSIL2A_20240527T100601_N0510_R022_T30NZM_20240527T182116",
        "properties": {"datetime": "2024-05-27T10:06:01Z", **properties},
        "assets": {key: {"href": key} for key in keys},
    }


@pytest.mark.parametrize(
    ("keys", "properties", "expected", "offset"),
    [
        pytest.param(
            EARTH_SEARCH,
            {"grid:code": "MGRS-30NZM", "earthsearch:boa_offset_applied": True},
            [*COMMON, "scl"],
            0,
            id="Earth Search",
        ),
        pytest.param(
            PLANETARY_COMPUTER,
            {"s2:mgrs_tile": "30NZM", "s2:processing_baseline": "05.10"},
            [*BANDS, "SCL"],
            1000,
            id="Planetary Computer",
        ),
        pytest.param(
            COPERNICUS,
            {"grid:code": "MGRS-30NZM", "processing:version": "05.10"},
            [*(f"{band}_{10 if band in FINE else 20}m" for band in BANDS), "SCL_20m"],
            1000,
            id="Copernicus Data Space",
        ),
    ],
)
def test_the_finest_file_of_each_band_is_taken(
    keys: list[str], properties: dict[str, object], expected: list[str], offset: int
) -> None:
    product = item_product(item(keys, **properties), "item", lambda href: href)
    assert product.layers == dict(zip((*BANDS, "classes"), expected, strict=True))
    assert product.offset == Offset(dn=offset, origin="metadata")
    assert product.tile == "30NZM"
