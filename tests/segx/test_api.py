"""The Python side gives what the command gives."""

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

import segx
from runtime.errors import BandError, BundleError, ConfigError, DataError, SatelliteError

ROOT = Path(__file__).parents[2]
DAYS = ("20210115", "20210420", "20210425", "20210810")
DATES: list[date | str] = ["2021-01-15", date(2021, 4, 20), "2021-04-25", "2021-08-10"]
SHAPE = (150, 203)
SIDE = 40


def read(path: Path) -> NDArray[np.uint8]:
    with rasterio.open(path) as dataset:
        values: NDArray[np.uint8] = dataset.read(1)
    return values


@pytest.fixture(scope="module")
def arrays() -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    rng = np.random.default_rng(2)
    aerial = rng.integers(0, 256, (5, *SHAPE), dtype=np.uint8)
    return aerial, rng.integers(1, 6000, (4, 10, SIDE, SIDE), dtype=np.uint16)


@pytest.fixture(scope="module")
def scene(
    arrays: tuple[NDArray[np.uint8], NDArray[np.uint16]],
    write_aerial: Callable[..., Path],
    write_series: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("api")
    write_aerial(folder / "aerial.tif", arrays[0])
    write_series(folder / "sentinel2", days=DAYS, dn=arrays[1], crs="EPSG:2154")
    return folder


def corner_of(scene: Path) -> tuple[float, float]:
    """Row and column of the aerial image's corner on the series."""
    with (
        rasterio.open(scene / "aerial.tif") as aerial,
        rasterio.open(scene / "sentinel2" / f"S2_{DAYS[0]}.tif") as series,
    ):
        ours, theirs = aerial.transform, series.transform
    return (ours.f - theirs.f) / theirs.e, (ours.c - theirs.c) / theirs.a


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"blend": True, "probabilities": True},
        {"tta": "flips", "margin": True, "disagreement": True},
        {"lattice_cells": 4},
    ],
    ids=str,
)
def test_arrays_give_the_maps_of_the_rasters(
    options: dict[str, Any],
    arrays: tuple[NDArray[np.uint8], NDArray[np.uint16]],
    scene: Path,
    tiny_bundle: Path,
    tmp_path: Path,
) -> None:
    wanted = segx.InferOptions(confidence=True, quality=True, **options)
    with segx.open_bundle(tiny_bundle, threads=1) as model:
        report = model.map(scene, tmp_path / "maps", options=wanted)
        found = model.predict(*arrays, DATES, corner=corner_of(scene), options=wanted)
    assert report is not None
    assert report.tiles == found.tiles > 1
    maps = {path.stem.split("_")[-1]: path for path in (tmp_path / "maps").glob("*.tif")}
    np.testing.assert_array_equal(found.classes, read(maps.pop("landcover")))
    np.testing.assert_array_equal(found.confidence, read(maps.pop("confidence")))
    np.testing.assert_array_equal(found.quality, read(maps.pop("quality")))
    assert set(maps) == set(found.extra)
    for name, path in maps.items():
        np.testing.assert_array_equal(found.extra[name][0], read(path))
    assert len(np.unique(found.classes)) > 5, "the test shows something"


def test_units_and_the_order_of_dates_change_nothing(
    arrays: tuple[NDArray[np.uint8], NDArray[np.uint16]], tiny_bundle: Path
) -> None:
    aerial, series = arrays
    later = segx.InferOptions(satellite_offset="1000")
    with segx.open_bundle(tiny_bundle, threads=1) as model:
        found = model.predict(
            aerial, series, DATES, options=segx.InferOptions(satellite_offset="0")
        )
        others = {
            "reflectance": model.predict(aerial, series / 1e4, DATES, units="reflectance"),
            "turned around": model.predict(aerial, series[::-1], DATES[::-1]),
            "with an offset": model.predict(aerial, series + 1000, DATES, options=later),
            "another": model.predict(aerial, series[:, ::-1], DATES),
        }
    agreement = {name: (item.classes == found.classes).mean() for name, item in others.items()}
    assert agreement.pop("another") < 0.99
    assert all(share > 0.999 for share in agreement.values()), agreement


def test_pixels_without_data_and_covered_dates_are_told(
    arrays: tuple[NDArray[np.uint8], NDArray[np.uint16]], tiny_bundle: Path
) -> None:
    valid = np.ones(SHAPE, dtype=np.bool_)
    valid[:70] = False
    cover = np.full((4, SIDE, SIDE), 100, dtype=np.uint8)
    with segx.open_bundle(tiny_bundle, threads=1) as model:
        found = model.predict(*arrays, DATES, cover=cover, valid=valid)
        with pytest.raises(SatelliteError, match="no clear date"):
            model.predict(
                *arrays, DATES, cover=cover, options=segx.InferOptions(missing_satellite="refuse")
            )
        with pytest.raises(SatelliteError, match="there is no Sentinel-2 series"):
            model.predict(arrays[0])
    for array in (found.classes, found.confidence, found.quality):
        assert (array[:70] == 255).all()
        assert (array[70:] < 255).all()
    assert (found.quality[70:] == 1).all()


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"aerial": np.zeros((4, 9, 9), np.uint8)}, BandError, r"expected \(5, H, W\) with the"),
        ({"aerial": np.zeros((5, 9, 9), np.uint16)}, DataError, "expected uint8"),
        ({"aerial": np.zeros((5, 0, 9), np.uint8)}, DataError, "at least one pixel"),
        ({"series": np.zeros((4, 9, 40, 40))}, BandError, r"expected \(T, 10, h, w\)"),
        ({"dates": DATES[:3]}, SatelliteError, "for 3 dates"),
        ({"dates": ["15.1.2021", *DATES[1:]]}, SatelliteError, "expected YYYY-MM-DD"),
        ({"valid": np.ones((3, 3), np.bool_)}, DataError, "expected bool"),
        ({"options": segx.InferOptions(crs="EPSG:2154")}, ConfigError, "expected it with files"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    change: dict[str, Any],
    error: type[Exception],
    text: str,
    arrays: tuple[NDArray[np.uint8], NDArray[np.uint16]],
    tiny_bundle: Path,
) -> None:
    given = {"aerial": arrays[0], "series": arrays[1], "dates": DATES, **change}
    with segx.open_bundle(tiny_bundle, threads=1) as model, pytest.raises(error, match=text):
        model.predict(**given)


def test_a_shard_of_a_run_is_a_share(scene: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    with segx.open_bundle(tiny_bundle, threads=1) as model:
        reports = [
            model.map(scene, tmp_path / "maps", shard=segx.Shard(index=index, count=2))
            for index in (1, 2, 2)
        ]
    assert [None if report is None else report.shard for report in reports] == ["1/2", None, None]
    assert reports[1] is not None
    assert reports[1].pixels == SHAPE[0] * SHAPE[1]
    assert reports[2] is None


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="expected a bundle folder"):
        segx.open_bundle(tmp_path)


def test_the_package_names_all_it_has_and_nothing_else() -> None:
    assert {getattr(segx, name) for name in segx.__all__}
    assert set(segx.__all__) <= set(dir(segx))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        segx.nothing  # noqa: B018


def test_importing_the_package_loads_none_of_its_parts() -> None:
    probe = "import sys, segx; print({n.split('.')[0] for n in sys.modules} & {'numpy', 'runtime'})"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_examples_of_the_page_run(
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("segx.bundles.TOY", tiny_bundle)  # the same inputs, and faster
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    known: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "python.md", "exec"), known)
    assert known["report"].outputs[0] == "maps/aerial_landcover.tif"
    assert known["found"].classes.shape == (180, 250)
    assert "expected a bundle folder" in capsys.readouterr().out
