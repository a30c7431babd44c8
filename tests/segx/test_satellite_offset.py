"""`--satellite-offset` reaches every reader of series, and what a training was told is kept."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rasterio

from runtime.dataset import open_dataset
from runtime.satellite import SatelliteSpec
from segx import sample
from segx.export_steps import TrainingData, _open_data, training_data

Run = Callable[..., Any]

SPEC = SatelliteSpec(window=8)
LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "flair2": functools.partial(sample.write_flair2, seed=1, areas=2, patches_per_side=1),
    "flair-hub": functools.partial(sample.write_flair_hub, seed=1, patches_per_side=2),
    "landcover-ai": functools.partial(
        sample.write_landcover_ai, seed=1, sheets=1, shape=(512, 1536)
    ),
    "scene": functools.partial(sample.write_scene, seed=1, shape=(300, 300)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_offset_that_is_given_is_taken_off_in_every_layout(layout: str, tmp_path: Path) -> None:
    root = LAYOUTS[layout](tmp_path / "data")
    taken = {}
    for option in ("0", "1000", "auto"):
        dataset = open_dataset(root, tile=256, satellite_offset=option)
        patch = sorted(dataset.groups())[0]
        satellite = dataset.read(patch, SPEC).satellite
        assert satellite is not None
        taken[option] = satellite.series[satellite.date_mask == 1]
    np.testing.assert_allclose(taken["1000"], taken["0"] - 0.1, atol=1e-6)
    np.testing.assert_array_equal(taken["auto"], taken["0"])


def test_an_export_takes_the_offset_of_the_training_for_its_data_only(tmp_path: Path) -> None:
    root = LAYOUTS["flair2"](tmp_path / "data")
    known = {"path": str(root), "fingerprint": "f", "satellite_offset": "1000"}
    checkpoint: Any = SimpleNamespace(info=SimpleNamespace(provenance={"data": known}))
    trained = training_data(checkpoint)
    assert trained == TrainingData(root, "f", "1000")

    def offset_of(named: Path | None, option: Any) -> str:
        dataset: Any = _open_data(named, trained, 512, option)[0]
        return str(dataset.satellite_offset)

    assert offset_of(None, None) == "1000"
    assert offset_of(root, None) == "auto"
    assert offset_of(None, "0") == "0"
    del known["satellite_offset"]
    assert training_data(checkpoint).satellite_offset == "auto"


def test_a_map_says_what_offset_every_date_had(segx: Run, tmp_path: Path) -> None:
    LAYOUTS["scene"](tmp_path / "scene")
    toy = Path(__file__).parents[2] / "segx" / "toy.segx"
    offsets = {}
    for option in ("auto", "1000"):
        arguments = ["--bundle", toy, "--out", option, "--satellite-offset", option]
        result = segx("infer", "scene", *arguments)
        assert result.code == 0, result.err
        report = json.loads((tmp_path / option / "report.json").read_text())
        (dates,) = report["satellite"]["offsets"].values()
        assert len(dates) == report["satellite"]["dates_total"]
        offsets[option] = {(item["dn"], item["origin"]) for item in dates}
        assert ("Sentinel-2 offset of 1000: " in result.out) == (option == "1000")
        with rasterio.open(report["outputs"][0]) as source:
            tag = source.tags().get("SEGX_SATELLITE_OFFSET")
        assert tag == ("1000" if option == "1000" else None)
    assert {dn for dn, _ in offsets["auto"]} == {0}
    assert offsets["1000"] == {(1000, "given")}


def test_an_offset_that_does_not_exist_is_wrong_usage(segx: Run) -> None:
    assert segx("infer", "x.tif", "--satellite-offset", "500").code == 2
