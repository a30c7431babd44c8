"""Days between the aerial image and the Sentinel-2 dates."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rasterio

Run = Callable[..., Any]


pytestmark = pytest.mark.usefixtures("no_gpu")


@pytest.mark.parametrize(
    ("taken", "days"),
    [("2021-08-20", 10), ("2020-01-16", 365), ("2020-01-15", 366), ("2016-08-10", 1619)],
)
def test_a_gap_of_more_than_a_year_is_warned_of(
    taken: str, days: int, segx: Run, tiny_scene: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    scene = Path(shutil.copytree(tiny_scene, tmp_path / "scene"))
    with rasterio.open(scene / "aerial.tif", "r+") as dataset:
        dataset.update_tags(ACQUISITION_DATE=taken)
    result = segx("infer", scene, "--bundle", tiny_bundle)
    assert result.code == 0, result.err
    report = json.loads((tmp_path / "maps" / "report.json").read_text())
    assert report["satellite"]["date_gap_days"] == days
    if days <= 365:
        assert result.complaints == []
    else:
        (line,) = result.complaints
        assert line.startswith("segx: warning: ")
        assert f" {days} days apart; expected a year at most; " in line


def test_an_image_that_says_no_date_has_no_gap(
    segx: Run, tiny_scene: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    result = segx("infer", tiny_scene, "--bundle", tiny_bundle)
    assert (result.code, result.complaints) == (0, [])
    report = json.loads((tmp_path / "maps" / "report.json").read_text())
    assert report["satellite"]["date_gap_days"] is None
