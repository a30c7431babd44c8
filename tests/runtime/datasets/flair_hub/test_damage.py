"""What FLAIR-HUB lacks, and files that are damaged or of another kind."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hub_tree import DAYS, PLACES, A, B, C, listed, path_of, write_dates, write_splits
from numpy.typing import NDArray

from runtime.check.check import check_dataset
from runtime.dataset import open_dataset
from runtime.datasets.flair_hub import FlairHub
from runtime.errors import BandError, DataError, GridError, SatelliteError
from runtime.satellite import NotSeenError, SatelliteSpec

Write = Callable[..., Path]

SPEC = SatelliteSpec(window=16)


def message_of(call: Callable[[], object], kind: type[DataError]) -> str:
    with pytest.raises(kind) as info:
        call()
    message = str(info.value)
    assert "\n" not in message
    assert message.count(";") >= 2
    return message


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({A: "training"}, "puts D012-2019_AF-S1-27_5-10 into 'training' in split_flairchallenge"),
        ({"D001-2020_X_1-1": "train"}, "puts none of the 3 patches into a split"),
    ],
)
def test_splits_that_say_nothing_are_refused(
    values: dict[str, str | None], text: str, tree: Path
) -> None:
    write_splits(tree, values)
    assert text in message_of(lambda: FlairHub(tree).splits, DataError)


LISTINGS: dict[str, dict[str, str | None]] = {
    "patch without dates": {B: listed()},
    "null dates": {A: None},
    "damaged JSON": {A: listed()[:-9]},
    "a list": {A: json.dumps(list(DAYS))},
    "too few dates": {A: listed(DAYS[1:])},
    "no dates at all": {A: "{}"},
    "no day": {A: listed(("2019-1-4", *DAYS[1:]))},
    "a day that does not exist": {A: listed(("20190230", *DAYS[1:]))},
}


def damage(tree: Path, what: str) -> None:
    dates = tree / "GLOBAL_ALL_MTD" / "GLOBAL_SENTINEL2_MTD_DATES.gpkg"
    if what in LISTINGS:
        write_dates(tree, LISTINGS[what])
    elif what == "no dates file":
        dates.unlink()
    elif what == "dates file damaged":
        dates.write_bytes(b"SQLite format 3\x00" + bytes(200))
    else:
        path_of(tree, A, what).unlink()


@pytest.mark.parametrize(
    ("what", "kind", "text"),
    [
        ("no dates file", SatelliteError, "has no GLOBAL_SENTINEL2_MTD_DATES.gpkg; expected"),
        ("dates file damaged", DataError, "DATES.gpkg cannot be read as a GeoPackage ("),
        ("patch without dates", SatelliteError, f"has no dates for {A}; expected one per date"),
        ("null dates", SatelliteError, f"has no dates for {A}; expected one per date"),
        ("damaged JSON", DataError, f"for {A}; expected dates by index, such as"),
        ("a list", DataError, f"for {A}; expected dates by index, such as"),
        ("too few dates", SatelliteError, f"has 3 dates such as '20190418' for {A}, whose series "),
        ("no dates at all", SatelliteError, f"has 0 dates such as '' for {A}, whose series has 4"),
        ("no day", SatelliteError, f"has 4 dates such as '2019-1-4' for {A}"),
        ("a day that does not exist", SatelliteError, f"{A}, names the day '20190230'"),
        ("SENTINEL2_TS", NotSeenError, f"has no Sentinel-2 series for {A}; expected "),
        ("SENTINEL2_MSK-SC", SatelliteError, f"has no snow and cloud masks for {A}; expected "),
    ],
)
def test_what_the_satellite_input_lacks_is_said_only_where_it_is_needed(
    what: str, kind: type[DataError], text: str, tree: Path
) -> None:
    damage(tree, what)
    dataset = FlairHub(tree)
    assert dataset.read(A, None).satellite is None
    assert text in message_of(lambda: dataset.read(A, SPEC), kind)


@pytest.mark.parametrize(
    ("modality", "pixels", "options", "kind", "text"),
    [
        ("AERIAL_RGBI", np.zeros((3, 512, 512), "u1"), {}, BandError, "expected uint8 4 x 512"),
        ("AERIAL_RGBI", np.zeros((4, 256, 256), "u1"), {}, BandError, "uint8 4 x 256 x 256; "),
        ("DEM_ELEV", np.zeros((1, 512, 512), "f4"), {}, BandError, "expected float32 2 x 512"),
        ("DEM_ELEV", np.zeros((2, 512, 512), "u2"), {}, BandError, "is uint16 2 x 512 x 512; "),
        ("AERIAL_LABEL-COSIA", np.full((1, 512, 512), 19, "u1"), {}, DataError, "the label 19; "),
        ("SENTINEL2_TS", np.zeros((39, 10, 10), "u2"), {}, BandError, "has 39 uint16 bands; "),
        ("SENTINEL2_TS", np.zeros((40, 10, 10), "f4"), {}, BandError, "has 40 float32 bands; "),
        ("SENTINEL2_MSK-SC", np.zeros((4, 10, 10), "u2"), {}, SatelliteError, "has 4 bands of "),
        ("SENTINEL2_MSK-SC", np.zeros((8, 9, 9), "u2"), {}, SatelliteError, "of (9, 9) px for 4"),
        ("AERIAL_LABEL-COSIA", np.zeros((1, 512, 512), "u1"), {"moved": 0.2}, GridError, "covers"),
        ("SENTINEL2_TS", np.zeros((40, 10, 10), "u2"), {"moved": 10.24}, GridError, "covers 65"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(
    modality: str,
    pixels: NDArray[Any],
    options: dict[str, float],
    kind: type[DataError],
    text: str,
    whole: Path,
    add: Write,
) -> None:
    moved = options.get("moved", 0.0)
    if moved:
        x, y = PLACES[A]
        side = 102.4 / pixels.shape[1]
        path = add(whole, A, modality, pixels, transform=Affine(side, 0, x + moved, 0, -side, y))
    else:
        path = add(whole, A, modality, pixels)
    message = message_of(lambda: FlairHub(whole).read(A, SPEC), kind)
    assert text in message
    assert message.startswith(str(path))


def test_a_look_through_names_what_is_missing(published: Path) -> None:
    found = check_dataset(FlairHub(published))
    assert found.layout == "FLAIR-HUB"
    assert [(count.split, count.patches, count.labelled) for count in found.splits] == [
        ("train", 1, 1),
        ("val", 1, 1),
        ("test", 1, 1),
    ]
    assert found.satellite is not None
    assert (found.satellite.series, found.satellite.dates) == (2, (4, 4))
    assert found.satellite.per_month == (2, 0, 0, 4, 0, 0, 0, 0, 0, 0, 2, 0)
    assert found.satellite.clear_share[3] == 0.5, "one of two dates in April is cloudy"
    kinds = {finding.kind for finding in found.findings}
    assert kinds == {"note"}, "the patch without a series is for testing"
    texts = [finding.text for finding in found.findings]
    assert any(f"1 of 3 patches have no DEM_ELEV, such as {C}" in text for text in texts)
    assert any("have no Sentinel-2 series, such as D068-2021/AA-S1-1" in text for text in texts)


def test_a_look_through_finds_that_training_lacks_a_series(tree: Path) -> None:
    path_of(tree, A, "SENTINEL2_TS").unlink()
    found = check_dataset(FlairHub(tree))
    missing = [finding.text for finding in found.findings if finding.kind == "missing"]
    assert any("have no Sentinel-2 series, such as D012-2019/AF-S1-27" in text for text in missing)


@pytest.mark.parametrize(
    "modality", ["AERIAL_RGBI", "DEM_ELEV", "SENTINEL2_TS", "SENTINEL2_MSK-SC", "no dates file"]
)
def test_a_look_through_finds_what_is_damaged(modality: str, whole: Path) -> None:
    assert not damaged_in(whole)
    if modality == "no dates file":
        damage(whole, modality)
        assert len(damaged_in(whole)) == 2
        return
    path = path_of(whole, A, modality)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    found = damaged_in(whole)
    assert found
    assert all(text.startswith(str(path)) for text in found)


def damaged_in(root: Path) -> list[str]:
    findings = check_dataset(FlairHub(root)).findings
    return [finding.text for finding in findings if finding.kind == "damaged"]


def test_borders_that_differ_by_less_than_a_centimetre_are_the_same(tree: Path, add: Write) -> None:
    x, y = PLACES[A]
    place = Affine(0.2, 0, x + 0.009, 0, -0.2, y)
    add(tree, A, "AERIAL_LABEL-COSIA", np.zeros((1, 512, 512), dtype=np.uint8), transform=place)
    assert FlairHub(tree).read(A, None).labels is not None


def test_a_patch_that_is_not_there_is_named(published: Path) -> None:
    text = "has no patch 'D012-2019_X_1-1'; check splits.json"
    with pytest.raises(DataError, match=text):
        FlairHub(published).read("D012-2019_X_1-1", None)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "D012-2019_AERIAL_RGBI").mkdir()
    message = message_of(lambda: open_dataset(tmp_path), DataError)
    assert "holds no *_AERIAL_RGBI_*.tif; expected FLAIR-HUB's aerial images" in message


def test_a_patch_that_is_there_twice_is_refused(tree: Path) -> None:
    shutil.copytree(tree / "D012-2019_AERIAL_RGBI", tree / "copy" / "D012-2019_AERIAL_RGBI")
    assert f"holds {A} twice (" in message_of(lambda: FlairHub(tree), DataError)


@pytest.mark.parametrize(
    "modality", ["AERIAL_RGBI", "SENTINEL2_TS", "SENTINEL2_MSK-SC", "AERIAL_LABEL-COSIA"]
)
def test_the_fingerprint_knows_every_file_that_is_read(modality: str, tree: Path) -> None:
    before = FlairHub(tree).fingerprint()
    assert before == FlairHub(tree).fingerprint()
    path = path_of(tree, A, modality)
    path.write_bytes(path.read_bytes() + b"more")
    assert FlairHub(tree).fingerprint() != before
