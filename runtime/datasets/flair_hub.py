"""Read FLAIR-HUB as published: one folder per domain and modality, a GeoTIFF per patch.

    D012-2019_AERIAL_RGBI/AF-S1-27/D012-2019_AERIAL_RGBI_AF-S1-27_5-10.tif    4 bands, uint8, 0.2 m
    D012-2019_DEM_ELEV/...              surface and terrain, metres above the sea, 0.2 m
    D012-2019_SENTINEL2_TS/...          dates x 10 bands, date by date, 10 x 10 cells of 10.24 m
    D012-2019_SENTINEL2_MSK-SC/...      dates x 2: snow and cloud probability, 0 to 100
    D012-2019_AERIAL_LABEL-COSIA/...    0 to 18
    GLOBAL_ALL_MTD/GLOBAL_SENTINEL2_MTD_DATES.gpkg    {"0": "20190104", ...} by patch
    GLOBAL_ALL_MTD/GLOBAL_ALL_MTD_SPLIT.gpkg          train, valid or test by patch

The folders may lie in another one, such as `data`. What is not named here is not read. Classes are
the 13 of FLAIR #2, and so is the elevation band: height above the ground, surface less terrain, one
unit per 0.2 m from 0 to 255; unknown heights are 0.

A series covers its patch and nothing around it: a window that reaches farther repeats the outermost
cells, and has no context. No product is named, so digital numbers are taken to hold no radiometric
offset. Which of the two numbers of a name is the row is not said; georeferences tell.

Reference: Garioud et al. 2025, FLAIR-HUB, arXiv 2506.07080.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..fingerprint import fingerprint
from ..grid import Grid
from ..products import OffsetOption
from ..raster import describe
from ..sample import AERIAL_BANDS, Sample
from ..satellite import NotSeenError, SatelliteInput, SatelliteSpec
from .flair import CLASSES, CRS, PATCH_SIZE
from .flair_hub_files import check_ground, read_elevation, read_labels, read_pixels
from .flair_hub_layout import (
    AERIAL,
    COVER,
    HEIGHTS,
    LABELS,
    SERIES,
    HubPatch,
    find_metadata,
    find_patches,
)
from .flair_hub_series import DATES, PatchStack, open_patch_series
from .geopackage import PatchColumn
from .splits import LISTED, Split, SplitPatches, assign

SPLITS = "GLOBAL_ALL_MTD_SPLIT.gpkg"
SPLIT_COLUMN = "split_flairchallenge"
SPLIT_NAMES: dict[object, Split] = {"train": "train", "valid": "val", "test": "test"}
"""Splits by what they are called in the file."""

LICENCE = (
    "Etalab Open Licence 2.0 (https://www.etalab.gouv.fr/licence-ouverte-open-licence): "
    "FLAIR-HUB, IGN; contains modified Copernicus Sentinel data"
)


class FlairHub(SplitPatches):
    """A FLAIR-HUB data set on disk."""

    classes = CLASSES
    licence = LICENCE

    def __init__(
        self,
        root: Path,
        *,
        split_column: str = SPLIT_COLUMN,
        satellite_offset: OffsetOption = "auto",
    ) -> None:
        """Find the patches below a folder.

        Args:
            root: Folder of the domains' folders, or the one above it.
            split_column: Column of the published splits that counts.
            satellite_offset: Radiometric offset of the series; none unless it is given.

        Raises:
            DataError: If there are none, or two of one name.
        """
        self.root = root
        self.satellite_offset = satellite_offset
        self.split_column = split_column
        self.patches: dict[str, HubPatch] = {}
        for patch in sorted(find_patches(root), key=lambda patch: patch.image):
            if patch.id in self.patches:
                raise DataError(
                    f"{root} holds {patch.id} twice ({self.patches[patch.id].image} and "
                    f"{patch.image}); expected every patch once; remove one"
                )
            self.patches[patch.id] = patch
        if not self.patches:
            raise DataError(
                f"{root} holds no *_{AERIAL}_*.tif; expected FLAIR-HUB's aerial images in folders "
                f"DOMAIN-YEAR_{AERIAL}; unpack them there"
            )

    @cached_property
    def bands(self) -> tuple[str, ...]:
        """Red, green, blue, near infrared, and elevation if every patch has heights."""
        high = all(p.file(self.root, HEIGHTS).is_file() for p in self.patches.values())
        return AERIAL_BANDS if high else AERIAL_BANDS[:-1]

    @cached_property
    def splits(self) -> dict[Split, tuple[str, ...]]:
        """Ids by split: `splits.json` if there is one, else the published ones, else by domain.

        Raises:
            DataError: If a file of splits is damaged or speaks of other patches.
        """
        published = find_metadata(self.root, SPLITS)
        if published is None or (self.root / LISTED).is_file():
            return assign(self.root, list(self.patches.values()))
        return self._from_table(published)

    def groups(self) -> dict[str, str]:
        """Area of each patch by id."""
        return {patch.id: patch.area for patch in self.patches.values()}

    def position(self, patch_id: str) -> tuple[float, float]:
        """Place of a patch's centre in its CRS, (x, y) in metres."""
        return self._grid(self._patch(patch_id)).centre

    def resolution_m(self, patch_id: str) -> float:
        """Side of a pixel of a patch, in metres."""
        return self._grid(self._patch(patch_id)).resolution_m

    def read(self, patch_id: str, satellite: SatelliteSpec | None) -> Sample:
        """Read one patch with its labels and, if asked for, its satellite input.

        Raises:
            DataError: If a file is missing, damaged or of another kind.
        """
        patch = self._patch(patch_id)
        pixels, grid = self._aerial(patch)
        return Sample(
            id=patch_id,
            bands=self.bands,
            aerial=pixels,
            satellite=None if satellite is None else self._window(patch, grid, satellite),
            labels=self._labels(patch, grid),
        )

    def aerial(self, patch_id: str) -> NDArray[np.uint8]:
        """Read the aerial image and heights of a patch, shape (C, 512, 512).

        Raises:
            DataError: If a file is damaged or of another kind.
        """
        return self._aerial(self._patch(patch_id))[0]

    def labels(self, patch_id: str) -> NDArray[np.uint8] | None:
        """Class indices of a patch, shape (512, 512); None where there are no labels.

        Raises:
            DataError: If the file is damaged or of another kind.
        """
        patch = self._patch(patch_id)
        return self._labels(patch, self._grid(patch))

    def satellite_input(self, patch_id: str, spec: SatelliteSpec) -> SatelliteInput:
        """Resample the satellite window centred on a patch.

        Raises:
            SatelliteError: If the patch has no series, masks or dates, or nothing can be seen.
        """
        patch = self._patch(patch_id)
        return self._window(patch, self._grid(patch), spec)

    def has_series(self, patch_id: str) -> bool:
        """Whether there is a file of the patch's series."""
        return self._patch(patch_id).file(self.root, SERIES).is_file()

    def series(self, patch_id: str) -> PatchStack:
        """Open the series of a patch.

        Raises:
            SatelliteError: If the patch has no series, masks or dates.
            DataError: If a file is damaged or of another kind.
        """
        patch = self._patch(patch_id)
        data, masks = patch.file(self.root, SERIES), patch.file(self.root, COVER)
        if not self.has_series(patch_id):
            raise NotSeenError(
                f"{self.root} has no Sentinel-2 series for {patch_id}; expected {data}; unpack "
                f"{SERIES} of its domain, or leave it out by a splits.json"
            )
        return open_patch_series(
            data, masks, self._dates, patch_id, root=self.root, offset=self.satellite_offset
        )

    def fingerprint(self) -> str:
        """Hash of the names and sizes of everything that is read (sha256)."""
        return fingerprint(self.root, self._files(), more=f"splits {self.split_column}")

    def _files(self) -> Iterator[Path]:
        for patch in self.patches.values():
            yield patch.image
            others = (patch.file(self.root, m) for m in (HEIGHTS, SERIES, COVER, LABELS))
            yield from (path for path in others if path.is_file())
        tables = (find_metadata(self.root, name) for name in (DATES, SPLITS))
        yield from (path for path in tables if path is not None)

    @cached_property
    def _dates(self) -> PatchColumn | None:
        """Dates of the series by patch; None where their file is missing."""
        path = find_metadata(self.root, DATES)
        return None if path is None else PatchColumn(path, "acquisition_dates")

    def _patch(self, patch_id: str) -> HubPatch:
        if patch_id not in self.patches:
            raise DataError(f"{self.root} has no patch '{patch_id}'; check splits.json")
        return self.patches[patch_id]

    def _grid(self, patch: HubPatch) -> Grid:
        return describe(patch.image, assume_crs=CRS).grid

    def _aerial(self, patch: HubPatch) -> tuple[NDArray[np.uint8], Grid]:
        pixels, grid = read_pixels(patch.image, bands=4, dtype="uint8")
        if len(self.bands) > len(pixels):
            pixels = np.concatenate([pixels, read_elevation(patch.file(self.root, HEIGHTS), grid)])
        return pixels, grid

    def _window(self, patch: HubPatch, grid: Grid, spec: SatelliteSpec) -> SatelliteInput:
        """Resample the window centred on a patch whose aerial image has this grid."""
        series, middle = self.series(patch.id), PATCH_SIZE / 2
        check_ground(patch.file(self.root, SERIES), series.grid, grid)
        cells = grid.cells_around(
            middle, middle, size=spec.window, cell_m=spec.cell_m, target=series.grid
        )
        return spec.prepare(series.stack, *cells)

    def _labels(self, patch: HubPatch, grid: Grid) -> NDArray[np.uint8] | None:
        path = patch.file(self.root, LABELS)
        return read_labels(path, grid) if path.is_file() else None

    def _from_table(self, path: Path) -> dict[Split, tuple[str, ...]]:
        listed = PatchColumn(path, self.split_column).all()
        splits: dict[Split, list[str]] = {name: [] for name in SPLIT_NAMES.values()}
        for patch_id in self.patches:
            found = listed.get(patch_id) or None
            if found is None:
                continue
            if found not in SPLIT_NAMES:
                raise DataError(
                    f"{path} puts {patch_id} into '{found}' in {self.split_column}; expected "
                    f"{', '.join(map(str, SPLIT_NAMES))}; restore the file"
                )
            splits[SPLIT_NAMES[found]].append(patch_id)
        if not any(splits.values()):
            raise DataError(
                f"{path} puts none of the {len(self.patches)} patches into a split in "
                f"{self.split_column}; expected those of {self.root}; write a splits.json"
            )
        return {split: tuple(sorted(ids)) for split, ids in splits.items()}
