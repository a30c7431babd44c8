"""Where Sentinel-2 lies below a painted map, as GDAL sees it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.warp
from rasterio.enums import Resampling

Shifts = dict[tuple[int, int], float]


@pytest.fixture(scope="session")
def agreement() -> Callable[..., Shifts]:
    """Function that correlates vegetation with near infrared: by cells down and to the right."""
    return _agreement


def _agreement(labels: Path, plants: Sequence[int], series: Path) -> Shifts:
    with rasterio.open(labels) as truth:
        green = np.isin(truth.read(1), plants).astype(np.float32)
        source = {"src_transform": truth.transform, "src_crs": truth.crs}
    total, count = 0.0, 0
    for path in sorted(series.glob("S2_????????.tif")):
        with rasterio.open(path.with_name(f"{path.stem}_masks.tif")) as masks:
            if (masks.read() >= 20).mean() > 0.1:
                continue
        with rasterio.open(path) as image:
            ratio = image.read(7) / image.read(3).astype(np.float64)
            target = {"dst_transform": image.transform, "dst_crs": image.crs}
        total, count = total + ratio, count + 1
    share = np.full(np.shape(total), -1, dtype=np.float32)
    rasterio.warp.reproject(
        green, share, **source, **target, resampling=Resampling.average, init_dest_nodata=False
    )
    inside = share >= 0
    assert inside.sum() > 120
    score = {}
    for down in (-2, 0, 2):
        for right in (-2, 0, 2):
            moved = np.roll(total / count, (-down, -right), (0, 1))
            score[down, right] = float(np.corrcoef(moved[inside], share[inside])[0, 1])
    return score
