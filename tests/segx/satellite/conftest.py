import datetime
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from runtime.satellite import BANDS
from segx.sample import write_safe

SIDE = 46
CORNER = (586_020.0, 5_651_280.0)
DAYS = (datetime.date(2021, 6, 19), datetime.date(2022, 7, 19))


def write(
    path: Path,
    image: NDArray[np.generic],
    names: Sequence[str] = (),
    *,
    crs: str = "EPSG:32633",
    transform: Affine | None = None,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="JP2OpenJPEG" if path.suffix == ".jp2" else "GTiff",
        count=image.shape[0],
        height=image.shape[1],
        width=image.shape[2],
        dtype=image.dtype,
        crs=crs,
        transform=transform or Affine(10, 0, CORNER[0], 0, -10, CORNER[1]),
        **({"QUALITY": 100, "REVERSIBLE": "YES"} if path.suffix == ".jp2" else {}),
    ) as target:
        target.write(image)
        for index, name in enumerate(names, start=1):
            target.set_band_description(index, name)
    return path


@pytest.fixture(scope="session")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dates, the later with the offset of baseline 04.00, the earlier with masks."""
    folder, rng = tmp_path_factory.mktemp("series"), np.random.default_rng(4)
    for number, day in enumerate(DAYS):
        dn = rng.integers(20, 4000, (len(BANDS), SIDE, SIDE)) + 1000 * number
        write(folder / f"S2_{day:%Y%m%d}.tif", dn.astype(np.uint16), BANDS)
    cover = rng.integers(0, 101, (2, SIDE, SIDE)).astype(np.uint8)
    write(folder / f"S2_{DAYS[0]:%Y%m%d}_masks.tif", cover)
    return folder


@pytest.fixture(scope="session")
def safe(series: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same dates as `.SAFE` trees."""
    out = tmp_path_factory.mktemp("safe") / "products"
    return write_safe(out, seed=1, series=series, on_date=lambda done, total: None)


@pytest.fixture
def bands() -> NDArray[np.uint16]:
    """Bands of one date, shape (B, SIDE, SIDE)."""
    rng = np.random.default_rng(9)
    return rng.integers(1, 5000, (len(BANDS), SIDE, SIDE)).astype(np.uint16)
