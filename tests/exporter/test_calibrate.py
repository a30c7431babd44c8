from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from exporter.calibrate import CalibrationData, calibrate
from exporter.options import ConvertOptions
from runtime.bundle import Bundle, open_bundle
from runtime.errors import CalibrationError, GridError
from runtime.sample import Sample

OPTIONS = ConvertOptions(segx_version="0.1.0", precision="int8")


@dataclass
class TwoAreas:
    """Patches of the areas `fine` and `coarse`, of which every read is counted."""

    source: Any
    reads: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def groups(self) -> dict[str, str]:
        return {name: "coarse" if name == "train3" else "fine" for name in self.source.groups()}

    def resolution_m(self, patch_id: str) -> float:
        return 0.5 if patch_id == "train3" else 0.2

    def read(self, *args: Any) -> Sample:
        self.reads.append(args[0])
        sample: Sample = self.source.read(*args)
        return sample


@pytest.fixture
def data(patches: Any) -> CalibrationData:
    return CalibrationData(dataset=TwoAreas(patches), samples=2)


@pytest.fixture(scope="module")
def source(write_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of the patches' tiles."""
    return open_bundle(write_bundle(tmp_path_factory.mktemp("calibrate") / "a.segx", tile=256))


def test_data_of_another_resolution_are_refused_before_a_patch_is_read(
    data: CalibrationData, source: Bundle
) -> None:
    with pytest.raises(GridError, match=r"0\.500 m per pixel in coarse; expected 0\.200 m"):
        calibrate(data, source, OPTIONS, ())
    assert data.dataset.reads == []  # type: ignore[attr-defined]


def test_areas_that_are_not_asked_for_need_not_fit(data: CalibrationData, source: Bundle) -> None:
    found = calibrate(replace(data, areas=("fine",)), source, OPTIONS, ())
    assert set(found.record.selection.ids) < {"train0", "train1", "train2"}


def test_an_area_that_is_not_there_is_the_error_of_the_choice(
    data: CalibrationData, source: Bundle
) -> None:
    with pytest.raises(CalibrationError, match="has no area far in split 'train'"):
        calibrate(replace(data, areas=("far",)), source, OPTIONS, ())
