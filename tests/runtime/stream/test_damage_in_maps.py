"""Files that cannot be read, or not everywhere."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from local_model import LocalModel, map_files, noise, read, whole_map, write
from numpy.typing import NDArray

from runtime.errors import DataError
from runtime.output.kinds import DAMAGED, GOOD, NODATA


def cut_off(path: Path, pixels: NDArray[np.uint8], kept: float) -> Path:
    """Write a file that ends early."""
    whole = write(path.with_name("whole.tif"), pixels)
    # In this form what describes the file comes first, so that its first half can be opened.
    rasterio.shutil.copy(whole, path, driver="COG", BLOCKSIZE=128)
    path.write_bytes(path.read_bytes()[: round(path.stat().st_size * kept)])
    return path


def test_a_file_that_says_nothing_of_itself_is_refused(tmp_path: Path) -> None:
    path = cut_off(tmp_path / "a.tif", noise(600, 600), 0.0001)
    model = LocalModel()
    with pytest.raises(DataError, match=r"a\.tif cannot be opened as a"):
        map_files([path], tmp_path / "maps", model)
    assert model.runs == []
    assert not list(tmp_path.glob("maps/*"))


@pytest.mark.parametrize("strip", [2, 100])
def test_blocks_that_cannot_be_read_become_nodata(
    strip: int, few_columns: Callable[[int], None], tmp_path: Path
) -> None:
    few_columns(strip)
    pixels = noise(600, 600)
    path = cut_off(tmp_path / "a.tif", pixels, 0.5)
    report = map_files([path], tmp_path / "maps", quality=True)
    hidden = np.zeros((600, 600), dtype=np.bool_)
    for block in report.damaged:
        assert block.path == str(path)
        assert (block.row % 128, block.col % 128) == (0, 0)
        part = np.s_[block.row : block.row + block.height, block.col : block.col + block.width]
        assert not hidden[part].any(), "each is listed once"
        hidden[part] = True
    assert hidden.any()
    assert not hidden.all()
    quality = read(tmp_path / "maps" / "a_quality.tif")[0]
    np.testing.assert_array_equal(quality, np.where(hidden, DAMAGED, GOOD))
    found = read(tmp_path / "maps" / "a_landcover.tif")[0]
    np.testing.assert_array_equal(found == NODATA, hidden)
    # What lies farther from the damage than the model sees is as if there were none.
    near = np.zeros_like(hidden)
    for row, col in np.argwhere(hidden[::4, ::4]):
        near[max(4 * row - 16, 0) : 4 * row + 20, max(4 * col - 16, 0) : 4 * col + 20] = True
    np.testing.assert_array_equal(found[~near], whole_map(pixels)[~near])


def test_a_file_that_vanishes_stops_the_run(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / f"{name}.tif", noise(900, 60), row) for name, row in (("a", 0), ("b", 900))
    ]
    gone = tmp_path / "elsewhere.tif"

    def vanish(done: int, total: int) -> None:
        if paths[1].exists():
            paths[1].rename(gone)

    with pytest.raises(DataError, match=r"b\.tif .*; .*; "):
        map_files(paths, tmp_path / "maps", on_tile=vanish)
    gone.rename(paths[1])
    report = map_files(paths, tmp_path / "maps")
    assert report.resumed
    assert len(report.outputs) == 2


def test_damage_met_before_an_interruption_is_still_listed_after_it(tmp_path: Path) -> None:
    whole, path = write(tmp_path / "whole.tif", noise(1200, 90)), tmp_path / "a.tif"
    rasterio.shutil.copy(whole, path, driver="GTiff", COMPRESS="DEFLATE", TILED="YES")
    with rasterio.open(path) as dataset:
        start = int(dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[start + 8 : start + 40] = bytes(32)
    path.write_bytes(content)
    with pytest.raises(ZeroDivisionError):
        map_files([path], tmp_path / "maps", LocalModel(fail_at=70))
    report = map_files([path], tmp_path / "maps")
    assert report.resumed
    assert [(block.row, block.col) for block in report.damaged] == [(0, 0)]
