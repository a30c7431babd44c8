"""A header must not take memory, nor a pickle run."""

import io
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes

from runtime.numpy_files import KINDS, UNREADABLE, map_array, read_arrays

MIB = 1 << 20

ARRAYS = arrays(scalar_dtypes().filter(lambda t: t.kind in KINDS), array_shapes(min_side=0))


def header(text: str, data: bytes = b"", version: int = 1) -> bytes:
    content = text.encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + len(content).to_bytes(2, "little") + content + data


def entry(shape: str, descr: str = "'|u1'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


BAD = {
    "more than there is": header(entry("(1000000000000,)"), bytes(10)),
    "less than there is": header(entry("(2,)"), bytes(10)),
    "negative": header(entry("(-2, -5)"), bytes(10)),
    "beyond numbers": header(entry("(9" + "0" * 400 + ",)"), bytes(10)),
    "objects": header(entry("(1,)", "'|O'"), pickle.dumps([print])),
    "text": header(entry("(1,)", "'<U1'"), bytes(4)),
    "fields": header(entry("(1,)", "[('a', '|u1')]"), bytes(1)),
    "an unknown type": header(entry("(1,)", "'?!'"), bytes(1)),
    "a call": header("print('run')"),
    "nested": header("(" * 4000 + ")" * 4000),
    "other keys": header("{1: 2, 'a': 3, 'b': 4}"),
    "a later version": header(entry("(1,)"), bytes(1), version=3),
    "a cut": header(entry("(1,)"))[:30],
    "nothing": b"",
    "text file": b"1,2,3\n",
}


def zipped(path: Path, content: bytes, name: str = "a.npy") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


@settings(max_examples=30)
@given(array=ARRAYS)
def test_what_numpy_writes_comes_back(
    array: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    np.savez_compressed(folder / "kept.npz", array=array)
    found = read_arrays(folder / "kept.npz", most_bytes=MIB)["array"]
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
    if array.size:  # nothing cannot be mapped
        np.save(folder / "kept.npy", array)
        np.testing.assert_array_equal(map_array(folder / "kept.npy"), array)


@pytest.mark.parametrize("name", BAD)
def test_a_header_that_does_not_fit_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(BAD[name])
    with pytest.raises(UNREADABLE):
        map_array(tmp_path / "a.npy")
    with pytest.raises(UNREADABLE):
        read_arrays(zipped(tmp_path / "a.npz", BAD[name]), most_bytes=MIB)


def test_a_zip_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.save(content, np.zeros(2 * MIB, np.uint8))
    path = zipped(tmp_path / "bomb.npz", content.getvalue())
    assert path.stat().st_size < MIB / 100
    with pytest.raises(ValueError, match="it unpacks to 2 MiB"):
        read_arrays(path, most_bytes=MIB)


@settings(max_examples=200)
@given(data=st.data())
def test_any_damage_is_refused_or_passes(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    np.save(folder / "damaged.npy", np.arange(6, dtype=np.int16).reshape(2, 3))
    content = bytearray((folder / "damaged.npy").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "damaged.npy").write_bytes(content)
    with suppress(*UNREADABLE):
        map_array(folder / "damaged.npy")
    with suppress(*UNREADABLE):
        read_arrays(zipped(folder / "damaged.npz", bytes(content)), most_bytes=MIB)
