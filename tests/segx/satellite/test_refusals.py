"""What is wrong with products is named in one line, and leaves nothing behind."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from satellite_products import (
    converted,
    write_bands,
    write_one,
)

from runtime.errors import BandError, DataError, GridError, SatelliteError, SegxError
from runtime.grid import Grid
from segx.satellite import find_products


def test_a_missing_band_is_named(bands: NDArray[np.uint16], tmp_path: Path) -> None:
    folder = write_bands(tmp_path / "in", bands)
    next(folder.glob("*_B8A_*")).unlink()
    with pytest.raises(BandError, match="lacks B8A; expected"):
        find_products(folder)


def test_level_1c_is_refused(safe: Path, tmp_path: Path) -> None:
    first = sorted(safe.glob("*.SAFE"))[0]
    shutil.copytree(first, tmp_path / first.name.replace("MSIL2A", "MSIL1C"))
    with pytest.raises(SatelliteError, match="Level-1C"):
        find_products(tmp_path)


def test_masks_of_one_band_are_no_bands(safe: Path, tmp_path: Path) -> None:
    first = sorted(safe.glob("*.SAFE"))[0]
    shutil.copytree(first, tmp_path / first.name)
    folder = next((tmp_path / first.name).rglob("QI_DATA"))
    write_one(folder / "MSK_DETFOO_B02.tif", np.ones((4, 4), np.uint8))
    converted(tmp_path, tmp_path.parent / "out of masks")
    (product,) = find_products(tmp_path)
    assert "DETFOO" not in product.layers["B02"]


@pytest.mark.parametrize("damage", ["cut", "tail", "text", "empty"])
def test_a_damaged_band_leaves_nothing_behind(safe: Path, tmp_path: Path, damage: str) -> None:
    first = sorted(safe.glob("*.SAFE"))[0]
    shutil.copytree(first, tmp_path / "in" / first.name)
    band = next((tmp_path / "in").rglob("*_B03_10m.jp2"))
    content = band.read_bytes()
    band.write_bytes(
        {
            "cut": content[:300],
            "tail": content[: len(content) // 2],
            "text": b"hello",
            "empty": b"",
        }[damage]
    )
    with pytest.raises(DataError, match=r"B03_10m\.jp2 .*expected"):
        converted(tmp_path / "in", tmp_path / "s2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


@pytest.mark.parametrize("name", ["../evil.SAFE/a.jp2", "/abs.SAFE/a.jp2", "a.SAFE/../../b.jp2"])
def test_a_zip_whose_names_leave_it_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(name, b"")
    with pytest.raises(SatelliteError, match="which leaves it"):
        find_products(tmp_path / "x.zip")


def test_a_zip_that_is_none_or_cut_short_is_refused(safe: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "whole"), "zip", safe)
    content = Path(archive).read_bytes()
    for damaged in (b"PK\x03\x04 and no more", b"", content[: len(content) // 2]):
        (tmp_path / "cut.zip").write_bytes(damaged)
        with pytest.raises(SatelliteError, match="cannot be read as a zip"):
            find_products(tmp_path / "cut.zip")


def test_metadata_that_unpack_to_more_than_any_are_read_no_further(
    safe: Path, tmp_path: Path
) -> None:
    first = sorted(safe.glob("*.SAFE"))[0]
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for path in sorted(first.rglob("*.jp2")):
            target.write(path, path.relative_to(safe).as_posix())
        target.writestr(f"{first.name}/MTD_MSIL2A.xml", b" " * (40 * 2**20))
    (product,) = find_products(archive)
    assert product.offset is not None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('<BOA_ADD_OFFSET band_id="0">-500</BOA_ADD_OFFSET>', "has the offsets -1000, -500"),
        ("<BOA_QUANTIFICATION_VALUE>1000</BOA_QUANTIFICATION_VALUE>", "counts 1000 digital"),
    ],
)
def test_metadata_of_another_scale_are_refused(
    safe: Path, tmp_path: Path, line: str, words: str
) -> None:
    first = sorted(safe.glob("*_N0509_*.SAFE"))[0]
    shutil.copytree(first, tmp_path / first.name)
    metadata = tmp_path / first.name / "MTD_MSIL2A.xml"
    metadata.write_text(line + metadata.read_text())
    with pytest.raises(SatelliteError, match=words):
        find_products(tmp_path)


def test_a_folder_that_holds_something_is_left_alone(safe: Path, tmp_path: Path) -> None:
    (tmp_path / "s2").mkdir()
    (tmp_path / "s2" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is there and not empty"):
        converted(safe, tmp_path / "s2")
    assert [path.name for path in (tmp_path / "s2").iterdir()] == ["mine.txt"]


def test_products_of_other_ground_are_refused(safe: Path, tmp_path: Path) -> None:
    crs = rasterio.crs.CRS.from_epsg(32633)
    far = Grid((100, 100), Affine(0.2, 0, 700_000, 0, -0.2, 5_000_000), crs)
    with pytest.raises(GridError, match="shows the ground of the aerial image"):
        converted(safe, tmp_path / "s2", far)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_folder_without_products_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SegxError, match="expected"):
        find_products(tmp_path / name)
