"""The folder of a run: who may use it, and what a start leaves that was cut short."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from runtime.errors import BusyError, ConfigError
from runtime.jsonfile import write_json
from runtime.schema import to_dict
from trainkit.checkpoint import CONFIG_NAME
from trainkit.config import TrainConfig
from trainkit.plan import TrainOptions
from trainkit.run import RUN_NAME, held_run, read_run, start_run

OPTIONS = TrainOptions(segx_version="0")


def test_a_second_process_is_refused_and_a_run_that_never_began_leaves_nothing(
    tmp_path: Path,
) -> None:
    out = tmp_path / "deep" / "run"
    with held_run(out), pytest.raises(BusyError, match="wait for its end"), held_run(out):
        pass
    assert not out.exists()


def test_a_file_is_no_folder_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(ConfigError, match="is a file"), held_run(tmp_path / "run"):
        pass


def test_a_start_that_was_cut_short_begins_anew(
    tmp_path: Path, tiny: TrainConfig, dataset: Any
) -> None:
    write_json(tmp_path / CONFIG_NAME, to_dict(tiny))
    (tmp_path / f".{RUN_NAME}.77.part").write_text("{")
    with held_run(tmp_path):
        start_run(tmp_path, tiny, dataset, OPTIONS, ("a00",))
    assert read_run(tmp_path)[0] == tiny


@pytest.mark.parametrize("name", ["thesis.txt", CONFIG_NAME])
def test_somebody_else_s_files_are_left_alone(
    tmp_path: Path, tiny: TrainConfig, dataset: Any, name: str
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigError, match="already holds files"), held_run(tmp_path):
        start_run(tmp_path, tiny, dataset, OPTIONS, ("a00",))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"
