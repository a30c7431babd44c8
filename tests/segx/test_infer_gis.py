"""What `segx infer` writes for a GIS."""

import json
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from attribute_tables import read_table

Run = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("no_gpu")


def test_one_pass_writes_all_maps_for_a_gis(infer: Run, tmp_path: Path, transcript: Run) -> None:
    raw = pytest.importorskip("pyogrio.raw")
    cog_validate = pytest.importorskip("rio_cogeo").cog_validate
    result = infer("--confidence", "--margin", "--quality", "--disagreement", "--vectorize")
    assert result.code == 0, result.err
    transcript("infer-gis", result.out)
    maps = tmp_path / "maps"
    names = ("landcover", "confidence", "margin", "quality", "disagreement")
    report = json.loads((maps / "report.json").read_text())
    assert report["outputs"] == [
        *(f"maps/aerial_{name}.tif" for name in names),
        "maps/aerial_landcover.gpkg",
    ]
    assert report["vectorize_s"] > 0
    values, tags = {}, {}
    for name in names:
        path = maps / f"aerial_{name}.tif"
        assert cog_validate(path, strict=True) == (True, [], [])
        with rasterio.open(path) as dataset:
            values[name], tags[name] = dataset.read(1), dataset.tags()
    assert all(told == tags["landcover"] for told in tags.values())
    assert tags["landcover"].keys() >= {
        *("SEGX_VERSION", "SEGX_BUNDLE", "SEGX_BUNDLE_SHA256", "SEGX_BACKEND", "SEGX_PRECISION"),
        *("SEGX_VERIFIED", "SEGX_MISSING_SATELLITE", "SEGX_SATELLITE_DATES", "SEGX_CREATED"),
    }
    # Of 13 shares of 1 the second is at least a twelfth of what the first leaves.
    most, lead = (values[name].astype(int) for name in ("confidence", "margin"))
    assert (
        (lead <= most) & (lead >= 2 * most - 255) & (lead <= most - (254 - most) / 12 + 2)
    ).all()
    columns = raw.read(maps / "aerial_landcover.gpkg", layer="landcover")[3]
    for row in read_table(maps / "aerial_landcover.tif"):
        assert row.pixels == (values["landcover"] == row.value).sum()
        area = columns[2][columns[0] == row.value].sum()
        assert area == pytest.approx(row.area_m2, abs=1e-3)
    for name in ("quality", "disagreement"):
        counted = [row.pixels for row in read_table(maps / f"aerial_{name}.tif")]
        assert counted == np.bincount(values[name].ravel(), minlength=len(counted)).tolist()


def test_the_measured_accuracy_is_a_tag(
    segx: Run, scene: Path, write_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    accuracy = {
        "dataset": "flair2",
        "split": "val",
        "patches": 40,
        "miou": 0.64791,
        "accuracy": 0.8,
        "scored_classes": 9,
        "iou": {},
        "reference_miou": 0.65,
        "executed": "openvino fp32",
    }
    bundle = write_bundle(tmp_path / "measured.segx", accuracy=accuracy)
    assert segx("infer", scene, "--bundle", bundle).code == 0
    with rasterio.open(tmp_path / "maps" / "aerial_landcover.tif") as dataset:
        assert dataset.tags()["SEGX_ACCURACY"] == (
            "mIoU 64.79 % of 9 classes, 40 patches of flair2 (val), openvino fp32"
        )


def test_small_areas_and_corners_go_when_asked_for(infer: Run, tmp_path: Path) -> None:
    raw = pytest.importorskip("pyogrio.raw")
    count = {}
    for name, options in (("all", ()), ("few", ("--min-area", "2", "--simplify", "0.5"))):
        assert infer("--vectorize", *options, "--out", name).code == 0
        _, _, geometry, _ = raw.read(tmp_path / name / "aerial_landcover.gpkg", layer="landcover")
        count[name] = len(geometry), sum(map(len, geometry))
    assert count["few"] < count["all"]
    assert count["few"][1] < count["all"][1]


@pytest.mark.parametrize("option", ["--min-area", "--simplify"])
def test_an_option_of_polygons_alone_is_wrong_use(option: str, infer: Run, tmp_path: Path) -> None:
    result = infer(option, "1")
    assert result.code == 2
    assert "--vectorize" in result.err
    assert infer("--vectorize", option, "-1").code == 2
    assert not (tmp_path / "maps").exists()


def test_polygons_without_their_libraries_are_refused_before_any_work(
    infer: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str) -> ModuleSpec | None:
        return None if name == "pyogrio" else ModuleSpec(name, loader=None)

    monkeypatch.setattr("segx.extras.find_spec", find)
    result = infer("--vectorize")
    assert result.code == 1
    assert result.complaints == [
        "segx: pyogrio is not installed; segx infer --vectorize needs the extra 'gis'; "
        "run: pip install 'segx[gis]'"
    ]
    assert not (tmp_path / "maps").exists()
