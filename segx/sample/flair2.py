"""Write a synthetic data set laid out as FLAIR #2.

OUT/flair_aerial_train/D098_2021/Z1_AF/img/IMG_900001.tif       5 x 512 x 512, 0.2 m
    flair_labels_train/D098_2021/Z1_AF/msk/MSK_900001.tif       1..19
    flair_sen_train/D098_2021/Z1_AF/sen/SEN2_sp_D098_2021-Z1_AF_{data,masks}.npy, _products.txt
    flair-2_centroids_sp_to_patch.json   {"IMG_900001.tif": [row, column of the patch's centre]}
    flair_aerial_metadata.json           {"IMG_900001": {...}}
    splits.json                          {"train": ["IMG_900001", ...], "val": [...]}

An area's Sentinel-2 grid has the aerial image's axes and its own origin. The domains D098 and D099
do not exist in FLAIR: the first is for training, the second for validation.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from .aerial import AERIAL_M, photograph
from .area import build_area
from .files import AERIAL_BANDS, new_folder, write_raster
from .satellite import PIXEL_M, Axes, Series, simulate

PATCH_PX = 512
SUPER_MARGIN_PX = 25.0
"""Least number of Sentinel-2 pixels between the aerial image and the edge of its area's grid."""
FIRST_NUMBER = 900_001
FIRST_CORNER = (842_137.4, 6_541_209.8)
"""x and y of the first area's north-western corner, in EPSG:2154; in the Saône valley."""
AREA_STEP_M = (4_613.2, -3_271.6)
"""From one area's corner to the next."""
ZONE_CODES = ("AF", "UN", "NA", "FU", "UA", "AN")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    """What the JSON files hold."""

    centroids: dict[str, list[int]] = field(default_factory=dict)
    metadata: dict[str, dict[str, object]] = field(default_factory=dict)
    splits: dict[str, list[str]] = field(default_factory=lambda: {"train": [], "val": []})

    def write(self, root: Path) -> None:
        """Write the files."""
        for name, content in (
            ("flair-2_centroids_sp_to_patch.json", self.centroids),
            ("flair_aerial_metadata.json", self.metadata),
            ("splits.json", self.splits),
        ):
            text = json.dumps(content, indent=1, sort_keys=True)
            (root / name).write_text(text + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Site:
    """One area: its names and where it lies."""

    domain: str
    zone: str
    corner: tuple[float, float]
    """x and y of the north-western corner, in EPSG:2154."""
    origin: tuple[float, float]
    """Row and column of that corner on the Sentinel-2 grid, in pixel edges."""
    split: str

    def folder(self, root: Path, kind: str, leaf: str) -> Path:
        """Make and return a folder of the tree."""
        folder = root / f"flair_{kind}_train" / self.domain / self.zone / leaf
        folder.mkdir(parents=True)
        return folder

    def locate(self, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> Axes:
        """Find places of the Sentinel-2 grid on the area."""
        return (rows - self.origin[0]) * PIXEL_M, (cols - self.origin[1]) * PIXEL_M


def write_flair2(
    out: Path,
    *,
    seed: int,
    areas: int = 4,
    patches_per_side: int = 4,
    on_area: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a synthetic FLAIR #2 tree.

    Args:
        out: Folder to make; it may exist if it is empty.
        seed: The same seed gives the same files.
        areas: Areas, each with its own land; the last quarter, at least one, is for validation.
        patches_per_side: Patches of 512 px along each side of an area.
        on_area: Called with areas done and areas in all.

    Returns:
        `out`.

    Raises:
        DataError: If `out` holds something or cannot be written.
        ValueError: If there are fewer than two areas, or no patch.
    """
    if areas < 2 or patches_per_side < 1:
        raise ValueError(
            f"{areas} areas of {patches_per_side} patches; need 2 or more of 1 or more"
        )
    index = _Index()
    with new_folder(out, layout="flair2", seed=seed) as root:
        for number in range(areas):
            rng = np.random.default_rng([seed, number])
            site = _site(number, areas, rng)
            _write_area(root, site, patches_per_side, index, rng)
            if on_area is not None:
                on_area(number + 1, areas)
        index.write(root)
    return out


def _site(number: int, areas: int, rng: np.random.Generator) -> _Site:
    held_out = number >= areas - max(1, areas // 4)
    margin = SUPER_MARGIN_PX + rng.uniform(0, 1, 2)
    return _Site(
        domain="D099_2021" if held_out else "D098_2021",
        zone=f"Z{number + 1}_{ZONE_CODES[number % len(ZONE_CODES)]}",
        corner=(
            FIRST_CORNER[0] + number * AREA_STEP_M[0],
            FIRST_CORNER[1] + number * AREA_STEP_M[1],
        ),
        origin=(float(margin[0]), float(margin[1])),
        split="val" if held_out else "train",
    )


def _write_area(
    root: Path, site: _Site, patches_per_side: int, index: _Index, rng: np.random.Generator
) -> None:
    side = PATCH_PX * patches_per_side
    area = build_area((side, side), rng)
    image = photograph(area.fine, rng)
    reach = side * AERIAL_M / PIXEL_M + SUPER_MARGIN_PX
    shape = tuple(int(np.ceil(reach + start)) for start in site.origin)
    series = simulate(area, (shape[0], shape[1]), site.locate, rng)
    _write_series(site.folder(root, "sen", "sen"), site, series)
    aerial, labels = site.folder(root, "aerial", "img"), site.folder(root, "labels", "msk")
    for row in range(patches_per_side):
        for col in range(patches_per_side):
            window = (
                slice(row * PATCH_PX, (row + 1) * PATCH_PX),
                slice(col * PATCH_PX, (col + 1) * PATCH_PX),
            )
            number = FIRST_NUMBER + len(index.metadata)
            transform = _transform(site, row, col)
            path = aerial / f"IMG_{number:06d}.tif"
            write_raster(path, image[:, window[0], window[1]], transform, bands=AERIAL_BANDS)
            labelled = labels / f"MSK_{number:06d}.tif"
            write_raster(labelled, area.fine.cover[None, window[0], window[1]], transform)
            _register(index, site, f"IMG_{number:06d}", (row, col))


def _transform(site: _Site, row: int, col: int) -> Affine:
    """Place a patch on the ground; rounded, so that coordinates are whole decimetres."""
    left = round(site.corner[0] + col * PATCH_PX * AERIAL_M, 1)
    top = round(site.corner[1] - row * PATCH_PX * AERIAL_M, 1)
    return Affine(AERIAL_M, 0.0, left, 0.0, -AERIAL_M, top)


def _write_series(folder: Path, site: _Site, series: Series) -> None:
    stem = f"SEN2_sp_{site.domain}-{site.zone}"
    np.save(folder / f"{stem}_data.npy", series.dn)
    np.save(folder / f"{stem}_masks.npy", series.cover)
    lines = [
        f"S2{'AB'[order % 2]}_MSIL2A_{day:%Y%m%d}T103629_N0300_R008_T31TFM_{day:%Y%m%d}T134806\n"
        for order, day in enumerate(series.days)
    ]
    (folder / f"{stem}_products.txt").write_text("".join(lines), encoding="utf-8")


def _register(index: _Index, site: _Site, name: str, place: tuple[int, int]) -> None:
    """Enter a patch into the JSON files."""
    side_m = PATCH_PX * AERIAL_M
    south, east = ((step + 0.5) * side_m for step in place)
    index.centroids[f"{name}.tif"] = [
        round(site.origin[0] + south / PIXEL_M),
        round(site.origin[1] + east / PIXEL_M),
    ]
    index.metadata[name] = {
        "patch_centroid_x": round(site.corner[0] + east, 1),
        "patch_centroid_y": round(site.corner[1] - south, 1),
        "patch_centroid_z": 190.0,
        "date": "2021-07-12",
        "time": "10h30",
        "camera": "UCE-M3-f100-s06",
        "domain": site.domain,
        "zone": site.zone,
    }
    index.splits[site.split].append(name)
