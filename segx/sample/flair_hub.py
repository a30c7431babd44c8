"""Write a synthetic data set laid out as FLAIR-HUB.

OUT/D098-2021_AERIAL_RGBI/AF-S1-1/D098-2021_AERIAL_RGBI_AF-S1-1_0-0.tif    4 x 512 x 512, 0.2 m
    D098-2021_DEM_ELEV/...              surface and terrain, float32 metres
    D098-2021_SENTINEL2_TS/...          10 bands of each date, uint16, 10 x 10 cells of 10.24 m
    D098-2021_SENTINEL2_MSK-SC/...      snow and cloud of each date, uint16
    D098-2021_AERIAL_LABEL-COSIA/...    0 to 18
    GLOBAL_ALL_MTD/GLOBAL_SENTINEL2_MTD_DATES.gpkg, GLOBAL_ALL_MTD_SPLIT.gpkg

The land is painted as for FLAIR #2 and its classes are renamed. The domains D098 and D099 do not
exist: the first is for training, patches of the second for validation and test in turn.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from runtime.datasets.flair_hub import SPLIT_COLUMN, SPLITS
from runtime.datasets.flair_hub_layout import AERIAL, COVER, HEIGHTS, LABELS, SERIES
from runtime.datasets.flair_hub_series import DATES

from .aerial import AERIAL_M, HEIGHT_UNIT_M, photograph
from .area import build_area
from .classes import COVERS, Cover
from .files import AERIAL_BANDS, new_folder, write_raster
from .geopackage import Bounds, Feature, write_layer
from .place import MASK_BANDS
from .satellite import Axes, Series, simulate
from .spectra import BANDS

PATCH_PX = 512
CELL_M = 10.24
CELLS = 10
"""Sentinel-2 cells on each side of a patch."""
STREAM = 3_000_017
"""Keeps the land apart from that of the other layouts of the same seed."""
FIRST_CORNER = (871_540.8, 6_512_668.4)
"""x and y of the first area's north-western corner, in EPSG:2154."""
AREA_STEP_M = (3_914.4, -2_207.6)
"""From one area's corner to the next."""
EPSG = 2154
TERRAIN_M = 190.0
"""Height of an area's north-western corner above the sea."""
RISE = (0.013, -0.021)
"""Metres that the terrain rises per metre to the south and to the east."""
METADATA = "GLOBAL_ALL_MTD"
DOMAINS = ("D098-2021", "D099-2021")

COSIA_OF = np.zeros(COVERS, dtype=np.uint8)
"""Value in the label files by painted cover."""
for _value, _cover in enumerate(
    (
        Cover.BUILDING,
        Cover.GREENHOUSE,
        Cover.SWIMMING_POOL,
        Cover.IMPERVIOUS,
        Cover.PERVIOUS,
        Cover.BARE_SOIL,
        Cover.WATER,
        Cover.SNOW,
        Cover.HERBACEOUS,
        Cover.AGRICULTURAL,
        Cover.PLOWED,
        Cover.VINEYARD,
        Cover.DECIDUOUS,
        Cover.CONIFEROUS,
        Cover.BRUSHWOOD,
        Cover.CLEAR_CUT,
        Cover.LIGNEOUS,
        Cover.MIXED,
        Cover.OTHER,
    )
):
    COSIA_OF[_cover] = _value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Patch:
    """One patch: its names, place, and part of its area."""

    domain: str
    area: str
    row: int
    col: int
    corner: tuple[float, float]
    """x and y of its north-western corner, in EPSG:2154."""
    split: str

    @property
    def name(self) -> str:
        """Area and place, as file names have them."""
        return f"{self.area}_{self.row}-{self.col}"

    @property
    def id(self) -> str:
        """Id in the metadata."""
        return f"{self.domain}_{self.name}"

    @property
    def bounds(self) -> Bounds:
        """Ground of the patch."""
        left, top = self.corner
        return left, top - CELLS * CELL_M, left + CELLS * CELL_M, top

    def part(self, image: NDArray[Any], side: int) -> NDArray[Any]:
        """Cut the patch out of its area's image, of which it has `side` pixels a side."""
        rows, cols = (slice(place * side, (place + 1) * side) for place in (self.row, self.col))
        return image[..., rows, cols]

    def write(
        self,
        root: Path,
        modality: str,
        image: NDArray[Any],
        *,
        resolution_m: float = AERIAL_M,
        bands: tuple[str, ...] = (),
    ) -> None:
        """Write one file of the patch, shape (bands, rows, columns)."""
        stem = f"{self.domain}_{modality}"
        folder = root / stem / self.area
        folder.mkdir(parents=True, exist_ok=True)
        place = Affine(resolution_m, 0.0, self.corner[0], 0.0, -resolution_m, self.corner[1])
        write_raster(folder / f"{stem}_{self.name}.tif", image, place, bands=bands)


def write_flair_hub(
    out: Path,
    *,
    seed: int,
    patches_per_side: int = 3,
    on_area: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a synthetic FLAIR-HUB data set of two areas.

    Args:
        out: Folder to make; it may exist if it is empty.
        seed: The same seed gives the same files.
        patches_per_side: Patches of 512 px along each side of an area, 2 or more.
        on_area: Called with areas done and areas in all.

    Returns:
        `out`.

    Raises:
        DataError: If `out` holds something or cannot be written.
        ValueError: If there are too few patches for validation and test.
    """
    if patches_per_side < 2:
        raise ValueError(f"areas of {patches_per_side} x {patches_per_side} patches; need 2 x 2")
    dates: list[Feature] = []
    splits: list[Feature] = []
    with new_folder(out, layout="flair-hub", seed=seed) as root:
        for number, domain in enumerate(DOMAINS):
            rng = np.random.default_rng([seed, STREAM, number])
            patches = _lay_out(number, domain, patches_per_side)
            days = _write_area(root, patches, patches_per_side, rng)
            for patch in patches:
                known = {"patch_id": patch.id}
                listed = json.dumps({str(place): day for place, day in enumerate(days)})
                values = {**known, "acquisition_dates": listed}
                dates.append(Feature(bounds=patch.bounds, values=values))
                values = {**known, SPLIT_COLUMN: patch.split}
                splits.append(Feature(bounds=patch.bounds, values=values))
            if on_area is not None:
                on_area(number + 1, len(DOMAINS))
        (root / METADATA).mkdir()
        write_layer(root / METADATA / DATES, dates, epsg=EPSG)
        write_layer(root / METADATA / SPLITS, splits, epsg=EPSG)
    return out


def _lay_out(number: int, domain: str, patches_per_side: int) -> list[_Patch]:
    side_m = PATCH_PX * AERIAL_M
    corner = tuple(
        start + number * step for start, step in zip(FIRST_CORNER, AREA_STEP_M, strict=True)
    )
    return [
        _Patch(
            domain=domain,
            area=f"AF-S1-{number + 1}",
            row=row,
            col=col,
            corner=(round(corner[0] + col * side_m, 1), round(corner[1] - row * side_m, 1)),
            split=("valid", "test")[(row + col) % 2] if number else "train",
        )
        for row in range(patches_per_side)
        for col in range(patches_per_side)
    ]


def _write_area(
    root: Path, patches: list[_Patch], patches_per_side: int, rng: np.random.Generator
) -> tuple[str, ...]:
    """Paint an area and write its patches; give the dates of its series as YYYYMMDD."""
    side, cells = PATCH_PX * patches_per_side, CELLS * patches_per_side
    area = build_area((side, side), rng)
    image = photograph(area.fine, rng)
    heights = _heights(image[4])
    labels = COSIA_OF[area.fine.cover][None]
    series = simulate(area, (cells, cells), _locate, rng)
    for patch in patches:
        patch.write(root, AERIAL, patch.part(image[:4], PATCH_PX), bands=AERIAL_BANDS[:4])
        patch.write(root, HEIGHTS, patch.part(heights, PATCH_PX))
        patch.write(root, LABELS, patch.part(labels, PATCH_PX))
        _write_series(root, patch, series)
    return tuple(f"{day:%Y%m%d}" for day in series.days)


def _heights(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Turn an elevation band into surface and terrain above the sea, shape (2, H, W)."""
    rows, cols = np.ogrid[: codes.shape[0], : codes.shape[1]]
    terrain = TERRAIN_M + AERIAL_M * (RISE[0] * rows + RISE[1] * cols)
    return np.stack([terrain + HEIGHT_UNIT_M * codes, terrain]).astype(np.float32)


def _locate(rows: NDArray[np.float64], cols: NDArray[np.float64]) -> Axes:
    """Find places of the Sentinel-2 grid, which begins at the area's corner."""
    return rows * CELL_M, cols * CELL_M


def _write_series(root: Path, patch: _Patch, series: Series) -> None:
    dn = patch.part(series.dn, CELLS).reshape(-1, CELLS, CELLS)
    cover = patch.part(series.cover, CELLS).reshape(-1, CELLS, CELLS).astype(np.uint16)
    count = len(series.days)
    patch.write(root, SERIES, dn, resolution_m=CELL_M, bands=BANDS * count)
    patch.write(root, COVER, cover, resolution_m=CELL_M, bands=MASK_BANDS * count)
