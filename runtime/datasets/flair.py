"""Read FLAIR #2 trees, in the challenge's packaging and in the newer one.

    challenge    flair_aerial_train/D004_2021/Z10_AU/img/IMG_000826.tif
                 flair_labels_train/D004_2021/Z10_AU/msk/MSK_000826.tif
                 flair_sen_train/D004_2021/Z10_AU/sen/SEN2_*_{data,masks}.npy, SEN2_*_products.txt
    newer        data/train-val/D004_2021/aerial/Z10_AU/IMG_000826.tif, likewise labels, sentinel

Both are found by looking for `IMG_*.tif` and changing the other parts of the path. A zone of a
domain is an *area*: it holds many patches and one Sentinel-2 series, which is opened once. The
newer packaging also holds the test patches of FLAIR #1 (`flair#1-test`), which have no series: they
are the split `test-1`.

Reference: Garioud et al. 2023, FLAIR #2, arXiv 2310.13336.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..classes import LandCoverClass
from ..errors import BandError, DataError, SatelliteError
from ..fingerprint import fingerprint
from ..jsonfile import read_json
from ..metrics import IGNORE_INDEX
from ..products import OffsetOption
from ..raster import RasterReader, describe
from ..sample import AERIAL_BANDS, Sample
from ..satellite import (
    NotSeenError,
    SatelliteInput,
    SatelliteSpec,
    SatelliteStack,
    window_cells,
)
from ..series import holds_series, open_series, series_files
from .splits import LISTED, Split, SplitPatches, assign

CRS = "EPSG:2154"
"""Lambert-93; some files carry an unnamed local CRS instead."""

PATCH_SIZE = 512

CENTROIDS = "*centroids_sp_to_patch.json"
"""File that places patches in their Sentinel-2 series."""

CLASSES = tuple(
    LandCoverClass(name=name, color=color, scored=scored)
    for name, color, scored in (
        ("building", "#db0e9a", True),
        ("pervious surface", "#938e7b", True),
        ("impervious surface", "#f80c00", True),
        ("bare soil", "#a97101", True),
        ("water", "#1553ae", True),
        ("coniferous", "#194a26", True),
        ("deciduous", "#46e483", True),
        ("brushwood", "#f3a60d", True),
        ("vineyard", "#660082", True),
        ("herbaceous vegetation", "#55ff00", True),
        ("agricultural land", "#fff30d", True),
        ("plowed land", "#e4df7c", True),
        ("other", "#000000", False),
    )
)
"""The challenge's 13 classes: the first 12 are scored, the rest of the 19 labels is `other`."""

LABEL_VALUES = 19

LICENCE = (
    "Etalab Open Licence 2.0 (https://www.etalab.gouv.fr/licence-ouverte-open-licence): "
    "FLAIR #2, IGN; contains modified Copernicus Sentinel data"
)

TEST_1 = "test-1"
"""Split of FLAIR #1's test patches; those of FLAIR #2 are `test`."""

_DOMAIN = re.compile(r"D\d{3}_\d{4}")
_ZONE = re.compile(r"Z\d+_\w+")
_TEST_1_FOLDER = "flair#1-test"
_TEST = re.compile(r"(?<![a-z])test(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """One aerial patch and where its labels and series lie."""

    id: str
    """Name of the image without extension, such as `IMG_000826`."""
    image: Path
    labels: Path | None
    area: str
    """Domain and zone, such as `D004_2021/Z10_AU`; the image's folder where it has other names."""
    domain: str
    zone: str
    satellite: Path | None
    """Folder that holds the area's series."""
    is_test: bool
    """Whether the patch lies in a test folder."""


def class_indices(values: NDArray[Any], *, where: str) -> NDArray[np.uint8]:
    """Turn label values 1..19 into class indices 0..12: `min(value, 13) - 1`; 0 is ignored.

    Args:
        values: Labels of any integer type and shape.
        where: Name of the source for messages.

    Raises:
        DataError: If a value is above 19 or below 0, or the values are no integers.
    """
    if values.dtype.kind not in "ui":
        raise DataError(
            f"{where} is of type {values.dtype}; expected uint8; give FLAIR labels as published"
        )
    for found in (values.min(initial=0), values.max(initial=0)):
        if not 0 <= found <= LABEL_VALUES:
            raise DataError(
                f"{where} holds the label {found}; expected 1 to {LABEL_VALUES}; "
                "give FLAIR labels as published"
            )
    indices = np.minimum(values, len(CLASSES)).astype(np.int16) - 1
    return np.where(values == 0, IGNORE_INDEX, indices).astype(np.uint8)


class FlairTree(SplitPatches):
    """A FLAIR #2 data set on disk."""

    classes = CLASSES
    bands = AERIAL_BANDS
    licence = LICENCE

    def __init__(self, root: Path, *, satellite_offset: OffsetOption = "auto") -> None:
        """Find the patches below a folder.

        Args:
            root: The data set.
            satellite_offset: Radiometric offset of the series, or how it is found.

        Raises:
            DataError: If there are none, or two of one name.
        """
        self.root = root
        self.satellite_offset = satellite_offset
        self.patches: dict[str, Patch] = {}
        for image in sorted(root.rglob("IMG_*.tif")):
            patch = _locate(root, image)
            if patch.id in self.patches:
                first = self.patches[patch.id].image
                raise DataError(
                    f"{root} holds {patch.id}.tif twice ({first} and {image}); "
                    "expected every patch once; remove one"
                )
            self.patches[patch.id] = patch
        if not self.patches:
            raise DataError(f"{root} holds no IMG_*.tif; expected a FLAIR #2 tree; check the path")
        self._stacks: dict[tuple[Path, str], SatelliteStack] = {}

    @cached_property
    def splits(self) -> dict[Split, tuple[str, ...]]:
        """Ids by split: `splits.json` if there is one, else official domains, else by area."""
        assigned = assign(self.root, list(self.patches.values()))
        if (self.root / LISTED).is_file():
            return assigned
        first = {
            patch.id
            for patch in self.patches.values()
            if _TEST_1_FOLDER in patch.image.relative_to(self.root).parts
        }
        if not first:
            return assigned
        apart = {split: tuple(i for i in ids if i not in first) for split, ids in assigned.items()}
        return {**apart, TEST_1: tuple(sorted(first))}

    def groups(self) -> dict[str, str]:
        """Area of each patch by id."""
        return {patch.id: patch.area for patch in self.patches.values()}

    def position(self, patch_id: str) -> tuple[float, float]:
        """Place of a patch's centre in its CRS, (x, y) in metres, from its georeference."""
        return describe(self._patch(patch_id).image, assume_crs=CRS).grid.centre

    def resolution_m(self, patch_id: str) -> float:
        """Side of a pixel of a patch in metres, from its georeference."""
        return describe(self._patch(patch_id).image, assume_crs=CRS).grid.resolution_m

    def read(self, patch_id: str, satellite: SatelliteSpec | None) -> Sample:
        """Read one patch with its labels and, if asked for, its satellite input.

        Raises:
            DataError: If a file is missing, damaged or of another kind.
        """
        return Sample(
            id=patch_id,
            bands=self.bands,
            aerial=self.aerial(patch_id),
            satellite=None if satellite is None else self.satellite_input(patch_id, satellite),
            labels=self.labels(patch_id),
        )

    def aerial(self, patch_id: str) -> NDArray[np.uint8]:
        """Read the aerial image of one patch, shape (5, 512, 512).

        Raises:
            DataError: If it is missing, damaged or of another kind.
        """
        with RasterReader(self._patch(patch_id).image, assume_crs=CRS) as reader:
            return _checked_aerial(reader)

    def labels(self, patch_id: str) -> NDArray[np.uint8] | None:
        """Read the class indices of one patch, shape (512, 512); None without labels.

        Raises:
            DataError: If the file is damaged or of another kind.
        """
        path = self._patch(patch_id).labels
        return None if path is None else _read_labels(path)

    def satellite_input(self, patch_id: str, spec: SatelliteSpec) -> SatelliteInput:
        """Cut and prepare the satellite window centred on a patch.

        Raises:
            SatelliteError: If the patch has no series, centroid or usable date.
        """
        row, col = self.centroid(patch_id)
        return spec.prepare(self.stack(patch_id), *window_cells(row, col, spec.window))

    def stack(self, patch_id: str) -> SatelliteStack:
        """Open the series of a patch's area; it is opened once and never changed.

        Raises:
            NotSeenError: If there is none.
            SatelliteError: If it is damaged.
        """
        patch = self._patch(patch_id)
        if patch.satellite is None:
            raise NotSeenError(
                f"{patch.id} of {patch.area} has no Sentinel-2 series; expected *data.npy, "
                "*masks.npy and *products.txt of its area; add them"
            )
        key = (patch.satellite, patch.zone)
        if key not in self._stacks:
            self._stacks[key] = open_series(
                patch.satellite, zone=patch.zone, offset=self.satellite_offset
            )
        return self._stacks[key]

    def series_files(self, patch_id: str) -> tuple[Path, ...]:
        """Every file that a patch's satellite input is made of."""
        patch = self._patch(patch_id)
        if patch.satellite is None:
            return ()
        return (*series_files(patch.satellite, zone=patch.zone), *self._placing)

    def fingerprint(self) -> str:
        """Hash of the names, sizes and centroids of everything that is read (sha256)."""
        placed = any(patch.satellite for patch in self.patches.values())
        more = json.dumps(self._centroids, sort_keys=True) if placed else ""
        return fingerprint(self.root, self._files(), more=more)

    def _files(self) -> Iterator[Path]:
        folders = set()
        for patch in self.patches.values():
            yield patch.image
            if patch.labels is not None:
                yield patch.labels
            if patch.satellite is not None:
                folders.add(patch.satellite)
        for folder in folders:
            yield from (path for path in folder.iterdir() if path.is_file())

    def _patch(self, patch_id: str) -> Patch:
        if patch_id not in self.patches:
            raise DataError(f"{self.root} has no patch '{patch_id}'; check splits.json")
        return self.patches[patch_id]

    @cached_property
    def _placing(self) -> tuple[Path, ...]:
        """The file that places patches in their series, if there is one."""
        return tuple(sorted(self.root.rglob(CENTROIDS))[:1])

    @cached_property
    def _centroids(self) -> dict[str, Any]:
        found = self._placing
        if not found:
            raise SatelliteError(
                f"{self.root} has no *centroids_sp_to_patch.json; expected the file that places "
                "patches in their Sentinel-2 series; unpack flair-2_centroids_sp_to_patch.zip there"
            )
        data = read_json(found[0], expected="image name to [row, col]; restore the file")
        if not isinstance(data, dict):
            raise DataError(f"{found[0]} holds no table; expected image name to [row, col]")
        return data

    def centroid(self, patch_id: str) -> tuple[float, float]:
        """Row and column of a patch's centre in its area's series, in pixel edges.

        Raises:
            SatelliteError: If the centroids file is missing or does not place the patch.
        """
        value = self._centroids.get(f"{patch_id}.tif")
        if not (isinstance(value, list) and len(value) == 2 and all(map(_is_position, value))):
            raise SatelliteError(
                f"{self.root} places {patch_id}.tif at {value}; expected [row, col] in pixels of "
                "the series; complete the centroids file"
            )
        return float(value[0]), float(value[1])


def _locate(root: Path, image: Path) -> Patch:
    parts = image.relative_to(root).parts[:-1]
    domain = next((p for p in parts if _DOMAIN.fullmatch(p)), "")
    zone = next((p for p in parts if _ZONE.fullmatch(p)), "")
    labels = _swapped(root, parts, {"aerial": "labels", "img": "msk"}) / image.name.replace(
        "IMG_", "MSK_", 1
    )
    return Patch(
        id=image.stem,
        image=image,
        labels=labels if labels.is_file() else None,
        area=f"{domain}/{zone}" if domain and zone else "/".join(parts),
        domain=domain,
        zone=zone,
        satellite=_satellite_folder(root, parts, zone),
        is_test=any(_TEST.search(part) for part in parts),
    )


def _swapped(root: Path, parts: tuple[str, ...], names: dict[str, str]) -> Path:
    """Path of another kind of file: each part's word for the aerial images replaced."""
    swapped = list(parts)
    for index, part in enumerate(parts):
        for old, new in names.items():
            if old == part or (old == "aerial" and "aerial" in part):
                swapped[index] = part.replace(old, new)
    return root.joinpath(*swapped)


def _satellite_folder(root: Path, parts: tuple[str, ...], zone: str) -> Path | None:
    for word in ("sen", "sentinel"):
        folder = _swapped(root, parts, {"aerial": word, "img": "sen"})
        for candidate in (folder, folder / "sen", folder.parent):
            if holds_series(candidate, zone=zone):
                return candidate
    return None


def _is_position(value: object) -> bool:
    # The bound keeps out NaN, infinity and integers that no float holds.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9


def _checked_aerial(reader: RasterReader) -> NDArray[np.uint8]:
    info = reader.info
    shape = (info.count, *info.grid.shape)
    expected = (len(AERIAL_BANDS), PATCH_SIZE, PATCH_SIZE)
    if shape != expected or info.dtype != "uint8":
        raise BandError(
            f"{info.path} is {info.dtype} {' x '.join(map(str, shape))}; "
            f"expected uint8 {' x '.join(map(str, expected))} ({', '.join(AERIAL_BANDS)}); "
            "give the patches as published"
        )
    return reader.read_all()


def _read_labels(path: Path) -> NDArray[np.uint8]:
    with RasterReader(path, assume_crs=CRS) as reader:
        shape = (reader.info.count, *reader.info.grid.shape)
        if shape != (1, PATCH_SIZE, PATCH_SIZE):
            raise DataError(
                f"{path} has shape {shape}; expected (1, {PATCH_SIZE}, {PATCH_SIZE}); "
                "give the labels as published"
            )
        values = reader.read_all()
    return class_indices(values[0], where=str(path))
