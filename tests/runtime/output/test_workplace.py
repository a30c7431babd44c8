import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.datasets.flair import CLASSES
from runtime.errors import DataError
from runtime.grid import Grid
from runtime.output.kinds import MapTags, class_map
from runtime.output.sheet import Sheet
from runtime.output.side_files import side_names
from runtime.output.workplace import Workplace

GRIDS = Callable[..., Grid]
KINDS = {"classes": class_map(CLASSES)}
IDENTITY = {"bundle": {"name": "tiny", "sha256": "ab"}, "files": [Path("a.tif")], "tile": 512}


def begin(place: Workplace, grid: Grid, tags: MapTags, stem: str = "a") -> Sheet:
    """Write the first block row of a sheet."""
    sheet = place.sheet(stem, grid, KINDS, tags)
    rows, width = min(512, grid.shape[0]), grid.shape[1]
    sheet.write(0, slice(0, width), {"classes": np.full((1, rows, width), 7, dtype=np.uint8)})
    return sheet


def fail(place: Workplace, grid: Grid, tags: MapTags, error: type[BaseException]) -> None:
    """Write the first block row of a sheet, then fail."""
    begin(place, grid, tags)
    raise error


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


def test_a_run_that_is_done_leaves_its_maps_only(
    tmp_path: Path, grid_of: GRIDS, tags: MapTags
) -> None:
    out = tmp_path / "new" / "maps"
    with Workplace(out, IDENTITY) as place:
        assert not place.resumed
        begin(place, grid_of(9, 9), tags).finish()
        place.finish()
        assert names(out) == {"a_landcover.tif", *side_names("a_landcover")}
    assert names(out) == {"a_landcover.tif", *side_names("a_landcover")}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_same_command_goes_on_after_an_error(
    error: type[BaseException], tmp_path: Path, grid_of: GRIDS, tags: MapTags
) -> None:
    with pytest.raises(error), Workplace(tmp_path, IDENTITY) as place:
        fail(place, grid_of(600, 9), tags, error)
    assert names(tmp_path) == {".segx-run", "lock", "journal", "a_landcover.raw"}
    with Workplace(tmp_path, IDENTITY) as place:
        assert place.resumed
        assert place.sheet("a", grid_of(600, 9), KINDS, tags).missing(slice(0, 9)) == (1,)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_before_the_first_piece_leaves_nothing(
    error: type[BaseException], tmp_path: Path
) -> None:
    with pytest.raises(error), Workplace(tmp_path, IDENTITY):
        raise error
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({**IDENTITY, "tile": 1024}, "tile was 512 and is 1024"),
        (
            {**IDENTITY, "bundle": {"name": "tiny", "sha256": "cd"}},
            'bundle.sha256 was "ab" and is "cd"',
        ),
        ({**IDENTITY, "blend": True}, "blend was null and is true"),
        ({**IDENTITY, "files": [Path("a.tif"), Path("b" * 50)]}, "files differs"),
        (
            {**IDENTITY, "tile": 1, "files": []},
            'files was ["a.tif"] and is []; tile was 512 and is 1',
        ),
        (
            {**IDENTITY, **{f"k{i}": i for i in range(7)}},
            "; ".join(f"k{i} was null and is {i}" for i in range(5)) + "; 2 more",
        ),
    ],
)
def test_another_command_is_refused_and_told_why(
    other: dict[str, object], why: str, tmp_path: Path, grid_of: GRIDS, tags: MapTags
) -> None:
    with Workplace(tmp_path, IDENTITY) as place:
        begin(place, grid_of(600, 9), tags)
    before = names(tmp_path)
    refused = rf"interrupted run of another command \({re.escape(why)}\); .* --restart"
    with pytest.raises(DataError, match=refused), Workplace(tmp_path, other):
        pass
    assert names(tmp_path) == before
    with Workplace(tmp_path, IDENTITY) as place:
        assert place.resumed


def test_a_restart_begins_afresh(tmp_path: Path, grid_of: GRIDS, tags: MapTags) -> None:
    with Workplace(tmp_path, IDENTITY) as place:
        begin(place, grid_of(600, 9), tags)
    with Workplace(tmp_path, IDENTITY, restart=True) as place:
        assert not place.resumed
        assert place.sheet("a", grid_of(600, 9), KINDS, tags).missing(slice(0, 9)) == (0, 1)


def test_a_sheet_that_was_finished_is_not_made_again(
    tmp_path: Path, grid_of: GRIDS, tags: MapTags
) -> None:
    with Workplace(tmp_path, IDENTITY) as place:
        (path,) = begin(place, grid_of(9, 9), tags).finish()
    made = Path(path).stat().st_mtime_ns
    with Workplace(tmp_path, IDENTITY) as place:
        assert place.resumed
        sheet = place.sheet("a", grid_of(9, 9), KINDS, tags)
        assert (sheet.finished, sheet.missing(slice(0, 9))) == (True, ())
        assert sheet.finish() == (path,)
        assert Path(path).stat().st_mtime_ns == made
        with pytest.raises(ValueError, match="to write"):
            sheet.write(0, slice(0, 9), {"classes": np.zeros((1, 9, 9), dtype=np.uint8)})


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_bytes(b"II")])
def test_a_finished_file_that_is_gone_is_made_again(
    change: Callable[[Path], object], tmp_path: Path, grid_of: GRIDS, tags: MapTags
) -> None:
    with Workplace(tmp_path, IDENTITY) as place:
        (path,) = begin(place, grid_of(9, 9), tags).finish()
    change(Path(path))
    with Workplace(tmp_path, IDENTITY) as place:
        sheet = place.sheet("a", grid_of(9, 9), KINDS, tags)
        assert (sheet.finished, sheet.missing(slice(0, 9))) == (False, (0,))


def test_two_runs_in_one_folder_are_refused(tmp_path: Path, grid_of: GRIDS, tags: MapTags) -> None:
    with Workplace(tmp_path, IDENTITY) as place:
        sheet = begin(place, grid_of(600, 9), tags)
        with (
            pytest.raises(DataError, match=r"is being written by another run; expected one run"),
            Workplace(tmp_path, {}),
        ):
            pass
        rest = {"classes": np.full((1, 88, 9), 7, dtype=np.uint8)}
        sheet.write(1, slice(0, 9), rest)
        sheet.finish()
        place.finish()
    with Workplace(tmp_path, IDENTITY):
        pass


def test_a_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "maps").write_text("")
    with (
        pytest.raises(DataError, match=r"maps cannot be written \(.*\); expected room and"),
        Workplace(tmp_path / "maps", IDENTITY),
    ):
        pass
    assert (tmp_path / "maps").read_text() == ""


def test_a_journal_that_cannot_be_read_leaves_the_work_alone(
    tmp_path: Path, grid_of: GRIDS, tags: MapTags, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Workplace(tmp_path, IDENTITY) as place:
        begin(place, grid_of(600, 9), tags)
    before = names(tmp_path)

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(DataError, match="cannot be written"), Workplace(tmp_path, IDENTITY):
            pass
    assert names(tmp_path) == before
    with Workplace(tmp_path, IDENTITY) as place:
        assert place.resumed


def test_sheets_are_handed_out_inside_the_block_only(
    tmp_path: Path, grid_of: GRIDS, tags: MapTags
) -> None:
    place = Workplace(tmp_path, IDENTITY)
    with pytest.raises(ValueError, match="inside its `with` block"):
        place.sheet("a", grid_of(9, 9), KINDS, tags)
