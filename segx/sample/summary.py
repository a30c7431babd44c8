"""Say what a written sample holds, by reading it back."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio

from .classes import COVERS, Cover


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a sample holds."""

    contents: str
    """Counts, for people."""
    shares: tuple[tuple[str, float], ...]
    """Names of the classes that occur and their share of all pixels, 0 to 1, by value on disk."""


def summarise(out: Path) -> Summary:
    """Count images, Sentinel-2 dates and classes of a sample of either layout."""
    series = sorted(out.glob("flair_sen_train/*/*/sen/*_products.txt"))
    labels = sorted(out.glob("flair_labels_train/*/*/msk/MSK_*.tif"))
    if labels:
        days = [len(path.read_text(encoding="utf-8").split()) for path in series]
        contents = (
            f"{len(labels)} patches of 512 px in {len(series)} areas, "
            f"{min(days)} to {max(days)} Sentinel-2 dates each"
        )
    else:
        labels = [out / "labels.tif"]
        dates = len(list((out / "sentinel2").glob("S2_*_masks.tif")))
        with rasterio.open(labels[0]) as source:
            contents = f"one scene of {source.height} x {source.width} px, {dates} Sentinel-2 dates"
    count = np.zeros(COVERS, dtype=np.int64)
    for path in labels:
        with rasterio.open(path) as source:
            count += np.bincount(source.read(1).ravel(), minlength=COVERS)
    shares = count / count.sum()
    return Summary(
        contents=contents,
        shares=tuple(
            (cover.name.lower().replace("_", " "), float(shares[cover]))
            for cover in Cover
            if count[cover]
        ),
    )
