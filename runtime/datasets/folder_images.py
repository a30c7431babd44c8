"""Find the images of a user's own data, and check what their headers say."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from affine import Affine

from ..errors import BandError, GridError
from ..raster import RasterInfo, RasterReader
from ..scene import are_names
from .folder_settings import SETTINGS, FolderSettings

IMAGES = "images"
LABELS = "labels"
SPLIT_FOLDERS = ("train", "val", "test")

LOCAL_CRS = 'LOCAL_CS["image",UNIT["metre",1]]'
"""Taken for files without a georeference: places inside an image, not on the Earth."""

SAME_RESOLUTION = 0.01
"""Share by which a header may differ from what `dataset.toml` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderImage:
    """An image and where its labels belong."""

    name: str
    """Name of the file without extension, behind its split folder where there is one."""
    info: RasterInfo
    labels: Path
    """May be missing."""


def is_folder_dataset(root: Path) -> bool:
    """Whether a folder holds images and labels of a user's own, with or without settings."""
    places = (root, *(root / split for split in SPLIT_FOLDERS))
    pairs = any((place / IMAGES).is_dir() and (place / LABELS).is_dir() for place in places)
    return pairs or (root / SETTINGS).is_file()


def check_labels_grid(labels: RasterInfo, image: RasterInfo) -> None:
    """Check that labels lie on the grid of their image.

    Raises:
        GridError: If they have another size, or are placed elsewhere.
    """
    placed = labels.placed and image.placed
    if labels.grid.shape != image.grid.shape or (
        placed and image.grid.offset_of(labels.grid) != (0, 0)
    ):
        raise GridError(
            f"{labels.path} is {labels.grid.shape[0]} x {labels.grid.shape[1]} px on another grid "
            f"than its image ({image.grid.shape[0]} x {image.grid.shape[1]} px); expected the same "
            "grid; warp the labels to it"
        )


def find_images(root: Path, settings: FolderSettings) -> Iterator[FolderImage]:
    """Give the images of a folder, by split folder and name.

    Raises:
        DataError: If a file cannot be read.
        GridError: If it says nothing of its resolution, or something else than the settings.
    """
    folders = {f"{split}/": root / split for split in SPLIT_FOLDERS}
    if (root / IMAGES).is_dir():
        folders = {"": root}
    for prefix, folder in folders.items():
        for path in sorted((folder / IMAGES).glob("*.tif")):
            with open_file(path, settings) as reader:
                info = reader.info
            _check_resolution(info, settings)
            labels = folder / LABELS / path.name
            yield FolderImage(name=f"{prefix}{path.stem}", info=info, labels=labels)


def open_file(path: Path, settings: FolderSettings) -> RasterReader:
    """Open an image or its labels.

    Raises:
        DataError: If it is missing or no raster.
        GridError: If it has no georeference and the settings give no resolution.
    """
    side = settings.resolution_m
    if side is None:
        try:
            return RasterReader(path)
        except GridError as error:
            raise GridError(f"{error}, or write resolution_m in {SETTINGS}") from error
    corner = Affine(side, 0.0, 0.0, 0.0, -side, 0.0)
    return RasterReader(path, assume_crs=LOCAL_CRS, assume_transform=corner)


def _check_resolution(info: RasterInfo, settings: FolderSettings) -> None:
    found, said = info.grid.resolution_m, settings.resolution_m
    if said is None or math.isnan(found) or not info.placed:
        return
    if abs(found / said - 1) > SAME_RESOLUTION:
        raise GridError(
            f"{info.path} has {found:.3f} m per pixel and {SETTINGS} says {said}; expected the "
            "same; take resolution_m out, the files say it themselves"
        )


def held_bands(info: RasterInfo, settings: FolderSettings) -> tuple[int, ...]:
    """Indices of an image's bands; an alpha band is one only where the settings name it too."""
    if len(settings.bands) == info.count:
        return tuple(range(info.count))
    return tuple(index for index in range(info.count) if index != info.alpha)


def shared_bands(images: list[FolderImage], settings: FolderSettings) -> tuple[str, ...]:
    """Names of the bands that every image has.

    Raises:
        BandError: If an image is not uint8, or the bands are not named or not the same.
    """
    first, bands = images[0].info.path, _bands(images[0].info, settings)
    for image in images[1:]:
        found = _bands(image.info, settings)
        if found != bands:
            raise BandError(
                f"{image.info.path} has the bands {', '.join(found)} and {first} "
                f"{', '.join(bands)}; expected the same in all images; write them alike"
            )
    return bands


def _bands(info: RasterInfo, settings: FolderSettings) -> tuple[str, ...]:
    if info.dtype != "uint8":
        raise BandError(f"{info.path} is {info.dtype}; expected uint8; rescale it first")
    held = held_bands(info, settings)
    names = settings.bands or tuple(info.bands[index].lower() for index in held)
    if len(names) != len(held) or not are_names(names):
        said = f"{SETTINGS} names {len(names)}" if settings.bands else "not all have names"
        raise BandError(
            f"{info.path} has {len(held)} band(s), of which {said}; expected a name for each; "
            f'write bands = ["red", ...] in {SETTINGS}'
        )
    return names
