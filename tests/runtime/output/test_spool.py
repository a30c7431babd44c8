from itertools import pairwise
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.output import spool as spools
from runtime.output.overviews import halve, level_shapes
from runtime.output.spool import Spool, spool_bytes


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def content(spool: Spool) -> list[NDArray[np.uint8]]:
    """What the raw file holds, shape (bands, rows, cols) for every level."""
    data = np.frombuffer(spool.path.read_bytes(), dtype=np.uint8)
    found = []
    for level in spool.levels:
        rows, cols = level.shape
        size = rows * spool.bands * cols
        lines = data[level.offset : level.offset + size].reshape(rows, spool.bands, cols)
        found.append(lines.transpose(1, 0, 2))
    return found


def pyramid(values: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    found = [values]
    while max(found[-1].shape[1:]) > 512:
        found.append(halve(found[-1], "mode"))
    return found


@settings(max_examples=40)
@given(
    data=st.data(), height=st.integers(1, 1100), width=st.integers(1, 1300), bands=st.integers(1, 3)
)
def test_pieces_in_any_order_make_the_map_and_its_overviews(
    data: st.DataObject,
    height: int,
    width: int,
    bands: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    values = noise(bands, height, width)
    spool = Spool(
        tmp_path_factory.mktemp("spool") / "a.raw", (height, width), bands=bands, rule="mode"
    )
    cuts = [0, *sorted(data.draw(st.sets(st.integers(1, width), max_size=3)) - {width}), width]
    blocks = range(-(-height // 512))
    spans = [(block, *span) for block in blocks for span in pairwise(cuts)]
    crcs = {}
    for block, start, stop in data.draw(st.permutations([*spans, spans[0]])):
        piece = values[:, spool.block_rows(block), start:stop]
        crcs[block, start, stop] = spool.write(block, slice(start, stop), piece)
    for block in data.draw(st.permutations(blocks)):
        whole = values[:, spool.block_rows(block)]
        spool.write_overviews(block, data.draw(st.sampled_from([whole, None])))
    for found, expected in zip(content(spool), pyramid(values), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert spool.path.stat().st_size == spool_bytes((height, width), bands)
    for (block, start, stop), crc in crcs.items():
        assert spool.checksum(block, slice(start, stop)) == crc


def test_a_small_chunk_gives_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = noise(2, 512, 1500)

    def fill(name: str) -> tuple[int, bytes]:
        spool = Spool(tmp_path / name, (512, 1500), bands=2, rule="average")
        crc = spool.write(0, slice(0, 1500), values)
        spool.write_overviews(0)
        return crc, spool.path.read_bytes()

    whole = fill("whole")
    monkeypatch.setattr(spools, "CHUNK_BYTES", 7000)
    assert fill("parts") == whole


def test_a_checksum_is_that_of_the_bytes_in_the_file(tmp_path: Path) -> None:
    values = noise(3, 20, 10)
    spool = Spool(tmp_path / "a.raw", (20, 10), bands=3, rule="mode")
    assert spool.write(0, slice(0, 10), values) == crc32(spool.path.read_bytes())


def test_what_was_never_written_has_another_checksum(tmp_path: Path) -> None:
    values = noise(1, 600, 10)
    spool = Spool(tmp_path / "a.raw", (600, 10), bands=1, rule="mode")
    crc = spool.write(0, slice(2, 9), values[:, :512, 2:9])
    spool.path.write_bytes(b"")
    again = Spool(spool.path, (600, 10), bands=1, rule="mode")
    assert again.checksum(0, slice(2, 9)) != crc


def test_a_file_that_ends_early_is_an_error(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a.raw", (600, 10), bands=1, rule="mode")
    spool.write(1, slice(0, 10), noise(1, 88, 10))
    spool.path.write_bytes(b"")
    with pytest.raises(OSError, match="ends early"):
        spool.checksum(1, slice(0, 10))


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 13))
def test_room_is_that_of_all_levels(height: int, width: int, bands: int) -> None:
    room = spool_bytes((height, width), bands)
    assert room == sum(rows * cols for rows, cols in level_shapes((height, width))) * bands
    assert height * width * bands <= room
