"""Say what a written sample holds, by reading it back."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio

from runtime.dataset import open_dataset
from runtime.datasets.flair_hub import FlairHub
from runtime.datasets.flair_hub_layout import LABELS as HUB_LABELS
from runtime.datasets.flair_hub_layout import SERIES
from runtime.datasets.folder_dataset import FolderDataset
from runtime.datasets.folder_images import is_folder_dataset
from runtime.datasets.landcover_ai import CLASSES, LISTS, MASKS
from runtime.datasets.potsdam import Potsdam
from runtime.datasets.potsdam_files import is_potsdam
from runtime.metrics import IGNORE_INDEX

from .classes import COVERS, Cover
from .flair_hub import COSIA_OF
from .spectra import BANDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a sample holds."""

    contents: str
    """Counts, for people."""
    shares: tuple[tuple[str, float], ...]
    """Names of the classes that occur and their share of all pixels, 0 to 1, by value on disk."""


def summarise(out: Path) -> Summary:
    """Count images, Sentinel-2 dates and classes of a sample of any layout."""
    dataset = open_dataset(out) if is_potsdam(out) or is_folder_dataset(out) else None
    if isinstance(dataset, Potsdam | FolderDataset):
        return _in_tiles(dataset)
    if products := sorted(out.glob("*.SAFE")):
        return Summary(contents=f"{len(products)} Sentinel-2 products", shares=())
    names = {cover.value: cover.name.lower().replace("_", " ") for cover in Cover}
    if (out / MASKS).is_dir():
        labels = sorted((out / MASKS).glob("*.tif"))
        names = {value: item.name for value, item in enumerate(CLASSES)}
        contents = _landcover_ai(out, len(labels))
    elif labels := sorted(out.glob(f"*_{HUB_LABELS}/*/*.tif")):
        names = {int(COSIA_OF[cover]): cover.name.lower().replace("_", " ") for cover in Cover}
        contents = _flair_hub(out, len(labels))
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


def _in_tiles(dataset: Potsdam | FolderDataset) -> Summary:
    """Sum up images that are cut into tiles when they are read."""
    groups = dataset.groups()
    count = np.zeros(IGNORE_INDEX + 1, dtype=np.int64)
    for patch_id in groups:
        labels = dataset.labels(patch_id)
        if labels is not None:
            count += np.bincount(labels.ravel(), minlength=len(count))
    shares = count / count[:IGNORE_INDEX].sum()
    named = ", ".join(f"{split} {len(ids)}" for split, ids in dataset.splits.items())
    return Summary(
        contents=f"{len(set(groups.values()))} images with {len(groups)} tiles of 512 px ({named})",
        shares=tuple(
            (item.name, float(shares[index]))
            for index, item in enumerate(dataset.classes)
            if count[index]
        ),
    )


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


def _flair_hub(out: Path, patches: int) -> str:
    splits = FlairHub(out).splits
    named = ", ".join(f"{split} {len(ids)}" for split, ids in splits.items())
    days = set()
    for path in out.glob(f"*_{SERIES}/*/*.tif"):
        with rasterio.open(path) as source:
            days.add(source.count // len(BANDS))
    return (
        f"{patches} patches of 512 px ({named}), {min(days)} to {max(days)} Sentinel-2 dates each"
    )


def _scene(out: Path) -> str:
    dates = len(list((out / "sentinel2").glob("S2_*_masks.tif")))
    with rasterio.open(out / "labels.tif") as source:
        return f"one scene of {source.height} x {source.width} px, {dates} Sentinel-2 dates"
