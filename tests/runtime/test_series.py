import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.errors import BandError, DataError, SatelliteError
from runtime.series import holds_series, open_series

SHAPE = (2, 10, 12, 9)
PRODUCTS = (
    "S2A_MSIL2A_20210415T105021_N0300_R051_T31UDP_20210415T135921",
    "S2B_MSIL2A_20220420T105619_N0400_R094_T31UDP_20220420T135920",
)


def write_series(folder: Path, stem: str = "SEN2_sp_D004_2021-Z1_NN", level: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{stem}_data.npy", np.full(SHAPE, level, dtype=np.uint16))
    np.save(folder / f"{stem}_masks.npy", np.zeros((2, 2, 12, 9), dtype=np.uint8))
    (folder / f"{stem}_products.txt").write_text("\n".join(PRODUCTS))
    return folder


@pytest.mark.parametrize("stem", ["SEN2_sp_D004_2021-Z1_NN", "sen2", "SEN2_Z1_NN"])
def test_files_are_found_by_their_suffix(tmp_path: Path, stem: str) -> None:
    stack = open_series(write_series(tmp_path, stem), zone="Z1_NN")
    assert stack.dn.shape == SHAPE
    assert stack.offsets == (0, 1000)
    assert [day.isoformat() for day in stack.dates] == ["2021-04-15", "2022-04-20"]


def test_a_series_stays_on_disk_and_cannot_be_written(tmp_path: Path) -> None:
    stack = open_series(write_series(tmp_path), zone="Z1_NN")
    assert isinstance(stack.dn, np.memmap)
    assert not stack.dn.flags.writeable
    assert not stack.cover.flags.writeable


def test_in_a_folder_of_several_zones_each_finds_its_own(tmp_path: Path) -> None:
    zones = ["Z1_NN", "Z1_N", "Z11_NN", "Z2_NN"]
    for level, zone in enumerate(zones, start=1):
        write_series(tmp_path, f"SEN2_sp_D004_2021-{zone}", level)
    for level, zone in enumerate(zones, start=1):
        assert int(open_series(tmp_path, zone=zone).dn.max()) == level


def test_the_series_of_another_zone_is_never_taken(tmp_path: Path) -> None:
    write_series(tmp_path, "SEN2_sp_D004_2021-Z2_NN")
    assert holds_series(tmp_path, zone="Z2_NN")
    assert not holds_series(tmp_path, zone="Z1_NN")
    with pytest.raises(SatelliteError, match=r"0 files \*data.npy for the zone 'Z1_NN'; expected"):
        open_series(tmp_path, zone="Z1_NN")


def test_a_missing_folder_holds_no_series(tmp_path: Path) -> None:
    assert not holds_series(tmp_path / "gone", zone="Z1_NN")


@pytest.mark.parametrize("suffix", ["masks.npy", "products.txt"])
def test_a_missing_file_is_named(tmp_path: Path, suffix: str) -> None:
    (path,) = write_series(tmp_path).glob(f"*{suffix}")
    path.unlink()
    with pytest.raises(SatelliteError, match=rf"0 files \*{suffix} for the zone 'Z1_NN'"):
        open_series(tmp_path, zone="Z1_NN")


def test_two_files_of_a_kind_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path)
    write_series(tmp_path, "copy_Z1_NN")
    with pytest.raises(SatelliteError, match=r"2 files \*data.npy"):
        open_series(tmp_path, zone="Z1_NN")


def archive() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, data=np.zeros(3))
    return buffer.getvalue()


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def truncated() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ones(SHAPE, dtype=np.uint16))
    return buffer.getvalue()[:900]


@pytest.mark.parametrize(
    "content",
    [bytes, lambda: b"hello", truncated, pickled, archive],
    ids=["empty", "text", "truncated", "pickled", "archive"],
)
@pytest.mark.parametrize("suffix", ["data.npy", "masks.npy"])
def test_a_damaged_array_is_named_in_one_line(
    tmp_path: Path, suffix: str, content: Callable[[], bytes]
) -> None:
    (path,) = write_series(tmp_path).glob(f"*{suffix}")
    path.write_bytes(content())
    with pytest.raises(SatelliteError, match=suffix) as caught:
        open_series(tmp_path, zone="Z1_NN")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(2, 9, 12, 9), (10, 12, 9), (2, 12, 9, 10)])
def test_a_series_without_the_ten_bands_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(write_series(tmp_path) / "SEN2_sp_D004_2021-Z1_NN_data.npy", np.ones(shape, np.uint16))
    with pytest.raises(BandError, match=r"expected \(dates, 10, rows, cols\) with the bands B02"):
        open_series(tmp_path, zone="Z1_NN")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("data", np.ones((2, 10, 12, 9), dtype="U1"), "type <U1"),
        ("data", np.ones((2, 10, 12, 9), dtype=complex), "type complex128"),
        ("masks", np.ones((2, 12, 9), dtype=np.uint8), "masks have shape"),
        ("masks", np.ones((2, 2, 9, 12), dtype=np.uint8), "masks have shape"),
    ],
)
def test_arrays_that_do_not_fit_name_their_folder(
    tmp_path: Path, name: str, array: NDArray[Any], message: str
) -> None:
    np.save(write_series(tmp_path / "sen") / f"SEN2_sp_D004_2021-Z1_NN_{name}.npy", array)
    with pytest.raises(SatelliteError, match=rf"sen\b.*{message}"):
        open_series(tmp_path / "sen", zone="Z1_NN")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "products.txt is empty"),
        (PRODUCTS[0], r"shape \(2, 10, 12, 9\) for 1 dates"),
        ("\n".join((*PRODUCTS, "nonsense")), "products.txt has the line 'nonsense'"),
        ("\n".join(PRODUCTS) + "\n" + PRODUCTS[0], "for 3 dates"),
    ],
)
def test_products_that_do_not_fit_the_series_are_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    (write_series(tmp_path) / "SEN2_sp_D004_2021-Z1_NN_products.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        open_series(tmp_path, zone="Z1_NN")


def test_products_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (write_series(tmp_path) / "SEN2_sp_D004_2021-Z1_NN_products.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SatelliteError, match=r"products.txt cannot be read"):
        open_series(tmp_path, zone="Z1_NN")
