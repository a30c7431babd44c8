"""Say what a written sample holds, by reading it back."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio

from runtime.landcover_ai import CLASSES, LISTS, MASKS

from .classes import COVERS, Cover


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a sample holds."""

    contents: str
    """Counts, for people."""
    shares: tuple[tuple[str, float], ...]
    """Names of the classes that occur and their share of all pixels, 0 to 1, by value on disk."""


def summarise(out: Path) -> Summary:
    """Count images, Sentinel-2 dates and classes of a sample of any layout."""
    names = {cover.value: cover.name.lower().replace("_", " ") for cover in Cover}
    if (out / MASKS).is_dir():
        labels = sorted((out / MASKS).glob("*.tif"))
        names = {value: item.name for value, item in enumerate(CLASSES)}
        contents = _landcover_ai(out, len(labels))
    elif labels := sorted(out.glob("flair_labels_train/*/*/msk/MSK_*.tif")):
        contents = _flair2(out, len(labels))
    else:
        labels = [out / "labels.tif"]
        contents = _scene(out)
    count = np.zeros(COVERS, dtype=np.int64)
    for path in labels:
        with rasterio.open(path) as source:
            count += np.bincount(source.read(1).ravel(), minlength=COVERS)
    shares = count / count.sum()
    found = tuple((name, float(shares[value])) for value, name in names.items() if count[value])
    return Summary(contents=contents, shares=found)


def _landcover_ai(out: Path, images: int) -> str:
    tiles = [len((out / f"{split}.txt").read_text(encoding="utf-8").split()) for split in LISTS]
    named = ", ".join(f"{split} {count}" for split, count in zip(LISTS, tiles, strict=True))
    days = [len(list(folder.glob("*_masks.tif"))) for folder in (out / "sentinel2").iterdir()]
    return (
        f"{images} images with {sum(tiles)} tiles of 512 px ({named}), "
        f"{min(days)} to {max(days)} Sentinel-2 dates each"
    )


def _flair2(out: Path, patches: int) -> str:
    series = sorted(out.glob("flair_sen_train/*/*/sen/*_products.txt"))
    days = [len(path.read_text(encoding="utf-8").split()) for path in series]
    return (
        f"{patches} patches of 512 px in {len(series)} areas, "
        f"{min(days)} to {max(days)} Sentinel-2 dates each"
    )


def _scene(out: Path) -> str:
    dates = len(list((out / "sentinel2").glob("S2_*_masks.tif")))
    with rasterio.open(out / "labels.tif") as source:
        return f"one scene of {source.height} x {source.width} px, {dates} Sentinel-2 dates"
