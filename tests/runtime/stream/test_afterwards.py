"""What is made of finished maps, also after a run that was stopped while it was made."""

from pathlib import Path

import pytest
from local_model import LocalModel, card_of, noise, write

from runtime.backends import BackendChoice
from runtime.pipeline import map_survey
from runtime.report import Report
from runtime.scene import Scene
from runtime.stream.afterwards import AfterMap
from runtime.stream.options import InferOptions
from runtime.stream.survey import make_survey
from runtime.tally import Tally

NAMES = ("a", "b", "c")


class Maker:
    """Makes a file of each map, and fails at one of them."""

    def __init__(self, fail_at: str = "", settings: str = "plain") -> None:
        self.made: list[str] = []
        self.shown: list[tuple[int, int]] = []
        self._fail_at = fail_at
        self.after = AfterMap(
            make=self.make,
            settings=settings,
            progress=lambda: lambda done, total: self.shown.append((done, total)),
        )

    def make(self, path: Path, folder: Path) -> Path:
        assert path.is_file()
        assert folder.is_dir()
        assert not (path.parent / "report.json").exists()
        if path.stem.startswith(f"{self._fail_at}_"):
            raise ZeroDivisionError
        self.made.append(path.stem)
        target = path.with_suffix(".txt")
        target.write_text(self.after.settings)
        return target


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return [
        write(tmp_path / f"{name}.tif", noise(60, 70), 0, 500 * number)
        for number, name in enumerate(NAMES)
    ]


def run(paths: list[Path], maker: Maker, model: LocalModel) -> Report:
    scenes = [Scene(aerial=path, satellite=None) for path in paths]
    survey = make_survey(scenes, card_of(), InferOptions())
    tally = Tally(BackendChoice(name="onnxruntime", reason="a test"))
    return map_survey(survey, model, paths[0].parent / "maps", tally=tally, after=maker.after)


def test_what_is_made_is_an_output_with_a_time_of_its_own(paths: list[Path]) -> None:
    maker = Maker()
    report = run(paths, maker, LocalModel())
    assert maker.made == [f"{name}_landcover" for name in NAMES]
    assert maker.shown == [(1, 3), (2, 3), (3, 3)]
    assert [Path(path).suffix for path in report.outputs] == [".tif"] * 3 + [".txt"] * 3
    assert report.vectorize_s is not None
    assert "vectorize" not in report.stages_s


@pytest.mark.parametrize("settings", ["plain", "other"])
def test_a_run_that_was_stopped_makes_what_is_missing(settings: str, paths: list[Path]) -> None:
    first = Maker(fail_at="b")
    with pytest.raises(ZeroDivisionError):
        run(paths, first, LocalModel())
    assert first.made == ["a_landcover"]
    again, model = Maker(settings=settings), LocalModel()
    report = run(paths, again, model)
    assert model.runs == []
    names = NAMES[1:] if settings == "plain" else NAMES
    assert again.made == [f"{name}_landcover" for name in names]
    texts = {Path(path).read_text() for path in report.outputs if path.endswith(".txt")}
    assert texts == {settings}
    assert not (paths[0].parent / "maps" / ".segx-run").exists()
