import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import segx.sample
from runtime.errors import DataError
from segx.commands.sample import sample

app = typer.Typer()
app.command()(sample)


def test_flair2_is_the_default_and_training_is_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = functools.partial(segx.sample.write_flair2, areas=2, patches_per_side=1)
    monkeypatch.setattr(segx.sample, "write_flair2", small)
    out = tmp_path / "data" / "sample"
    result = CliRunner().invoke(app, [str(out), "--seed", "9"], catch_exceptions=False)
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[:2] == ["layout: flair2", "seed: 9"]
    assert lines[2].startswith("synthetic data: 2 patches of 512 px in 2 areas, ")
    assert lines[-1] == f"wrote {out}; next: segx train {out}"
    assert any(line.startswith("herbaceous") for line in lines)
    assert "seed: 9" in (out / "README.txt").read_text()


def test_a_scene_is_mapped_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transcript: Callable[[str, str], None]
) -> None:
    small = functools.partial(segx.sample.write_scene, shape=(300, 400))
    monkeypatch.setattr(segx.sample, "write_scene", small)
    out = tmp_path / "scene"
    result = CliRunner().invoke(app, [str(out), "--layout", "scene"], catch_exceptions=False)
    transcript("sample", result.stdout)
    assert "synthetic data: one scene of 300 x 400 px, " in result.stdout
    assert result.stdout.splitlines()[-1] == f"wrote {out}; next: segx infer {out}"
    assert (out / "sentinel2").is_dir()


def test_landcover_ai_is_trained_on_next_with_its_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = functools.partial(segx.sample.write_landcover_ai, sheets=1, shape=(512, 1536))
    monkeypatch.setattr(segx.sample, "write_landcover_ai", small)
    out = tmp_path / "data"
    arguments = [str(out), "--layout", "landcover-ai"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "synthetic data: 1 images with 3 tiles of 512 px (train 1, val" in result.stdout
    last = f"wrote {out}; next: segx train {out} --config difd-tiny"
    assert result.stdout.splitlines()[-1] == last


def test_flair_hub_is_trained_on_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = functools.partial(segx.sample.write_flair_hub, patches_per_side=2)
    monkeypatch.setattr(segx.sample, "write_flair_hub", small)
    out = tmp_path / "data"
    arguments = [str(out), "--layout", "flair-hub"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "synthetic data: 8 patches of 512 px (train 4, val 2, test 2), " in result.stdout
    assert result.stdout.splitlines()[-1] == f"wrote {out}; next: segx train {out}"


def test_a_layout_that_cannot_be_written_is_wrong_usage(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(tmp_path / "out"), "--layout", "vaihingen"])
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(DataError, match=str(tmp_path)):
        CliRunner().invoke(app, [str(tmp_path)], catch_exceptions=False)
