"""Patches in memory whose aerial and satellite images are made from one ground."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.card import ModelCard
from runtime.classes import LandCoverClass
from runtime.datasets.flair import CLASSES
from runtime.errors import DataError
from runtime.manifest import AerialSpec, Normalization
from runtime.sample import Sample
from runtime.satellite import BANDS, DatePolicy, SatelliteInput, SatelliteSpec

TILE, WINDOW = 40, 8
AERIAL = ("elevation", "nir", "red", "green", "blue")
SATELLITE = ("B08", "B02", "B04", "B03")


@dataclass
class Ground:
    """Patches of 40 px of 1 m on a ground of 4 x 4 cells each."""

    areas: dict[str, int] = field(default_factory=lambda: {"a": 12, "b": 6, "c": 2})
    """Patches by area; their ids are `a00`, `a01`, ..."""
    shows: dict[str, str] = field(default_factory=dict)
    """Patches whose satellite input is that of another patch, by id."""
    dark: tuple[str, ...] = ()
    """Patches with a black aerial tile, but for its height."""
    plain: tuple[str, ...] = ()
    """Patches with an aerial tile of one colour."""
    empty: tuple[str, ...] = ()
    """Patches whose series holds nothing."""
    alone: tuple[str, ...] = ()
    """Patches without a satellite input."""
    labelled: bool = True
    rare: tuple[str, ...] = ()
    """The only patches with a little of class 11, and else class 0 alone."""
    months: Callable[[str], int] = lambda patch_id: 12
    """Usable months of a patch."""
    root: Path = Path("ground")
    classes: tuple[LandCoverClass, ...] = CLASSES
    bands: tuple[str, ...] = AERIAL
    licence: str = "made for tests"
    reads: list[str] = field(default_factory=list)

    @property
    def splits(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(self.groups()) for name in ("train", "val", "test")}

    def ids(self, split: str) -> tuple[str, ...]:
        if split not in self.splits:
            raise DataError(f"{self.root} has no split '{split}'")
        return self.splits[split]

    def groups(self) -> dict[str, str]:
        return {f"{name}{i:02d}": name for name, count in self.areas.items() for i in range(count)}

    def position(self, patch_id: str) -> tuple[float, float]:
        return 0.0, 0.0

    def resolution_m(self, patch_id: str) -> float:
        return 1.0

    def fingerprint(self) -> str:
        return "f" * 64

    def read(self, patch_id: str, satellite: SatelliteSpec | None) -> Sample:
        self.reads.append(patch_id)
        absent = satellite is None or patch_id in self.alone
        return Sample(
            id=patch_id,
            bands=AERIAL,
            aerial=self._aerial(patch_id),
            satellite=None if absent else self._satellite(patch_id),
            labels=self._labels(patch_id) if self.labelled else None,
        )

    def _aerial(self, patch_id: str) -> NDArray[np.uint8]:
        green, bright = (x[2:6, 2:6].repeat(10, 0).repeat(10, 1) for x in ground_of(patch_id))
        rng = np.random.default_rng([*patch_id.encode(), 1])
        visible = 40 + 60 * bright
        tile = np.stack(
            [255 * rng.random((TILE, TILE)), visible * (1 + green), visible, visible, visible]
        )
        tile[1:] += 20 * rng.random((4, TILE, TILE))
        if patch_id in self.dark:
            tile[1:] = 0
        if patch_id in self.plain:
            tile[1:] = np.array([90, 80, 70, 60])[:, None, None]
        return tile.astype(np.uint8)

    def _satellite(self, patch_id: str) -> SatelliteInput:
        green, bright = ground_of(self.shows.get(patch_id, patch_id))
        rng = np.random.default_rng([*patch_id.encode(), 2])
        visible = 0.03 + 0.1 * bright
        month = np.stack([visible * (1 + green), visible, visible, visible])
        mask = np.zeros(12, dtype=np.float32)
        mask[: self.months(patch_id)] = 1
        series = month * rng.uniform(0.9, 1.1, (12, 1, WINDOW, WINDOW)) * mask[:, None, None, None]
        if patch_id in self.empty:
            series *= 0
        return SatelliteInput(
            series=series.astype(np.float32),
            date_mask=mask,
            days=DatePolicy().month_days(),
            dates_used=(),
        )

    def _labels(self, patch_id: str) -> NDArray[np.uint8]:
        rng = np.random.default_rng([*patch_id.encode(), 3])
        labels = rng.choice(3, size=(TILE, TILE), p=[0.7, 0.25, 0.05]).astype(np.uint8)
        labels[0] = 255
        if patch_id in self.rare:
            labels[1:] = 0
            labels[1, :3] = 11
        return labels


def ground_of(patch_id: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How green and how bright a patch's 8 x 8 cells are, 0 to 1; areas differ much."""
    rng = np.random.default_rng(list(patch_id.encode()))
    level = {"a": 0.1, "b": 0.5, "c": 0.9}.get(patch_id[0], 0.3)
    green, bright = rng.random((2, 1, 1)) * 0.4 + rng.random((2, WINDOW, WINDOW)) * 0.6
    return (green + level) / 2, (bright + 1 - level) / 2


@pytest.fixture(scope="session")
def ground() -> type[Ground]:
    """Class of data sets in memory."""
    return Ground


@pytest.fixture(scope="session")
def card() -> ModelCard:
    """A model of both inputs, with its bands in an order of its own."""
    return ModelCard(
        name="model",
        sha256="0" * 64,
        verified=True,
        toy=False,
        aerial=AerialSpec(
            bands=AERIAL,
            resolution_m=1.0,
            tile_size=TILE,
            halo=0,
            stride=1,
            halo_exact=True,
            normalization=Normalization(mean=(0.0,) * 5, std=(1.0,) * 5),
        ),
        satellite=SatelliteSpec(bands=tuple(b for b in SATELLITE if b in BANDS), window=WINDOW),
        classes=CLASSES,
    )
