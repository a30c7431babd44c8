import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from potsdam_tree import write_tile

from runtime.dataset import open_dataset
from runtime.datasets.potsdam_published import BENCHMARK_TRAIN, TEST_TILES
from segx import sample
from segx.sample import write_landcover_ai, write_potsdam
from trainkit.config import load

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def sheets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of one tile each, with Sentinel-2; read it, do not change it."""
    out = tmp_path_factory.mktemp("sheets") / "sheets"
    return write_landcover_ai(out, seed=1, sheets=3, shape=(520, 520))


@pytest.fixture
def copied(sheets: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sheets, tmp_path / "sheets")


def test_a_data_set_is_looked_through(
    segx: Run, sheets: Path, transcript: Run, tmp_path: Path
) -> None:
    result = segx("data", "check", sheets, "--json", "check.json")
    assert (result.code, result.complaints) == (0, [])
    transcript("data-check", result.out)
    found = json.loads((tmp_path / "check.json").read_text())
    assert (found["layout"], found["whole"]) == ("LandCover.ai v1", True)
    assert [count["patches"] for count in found["splits"]] == [1, 1, 1]
    assert len(found["satellite"]["per_month"]) == 12
    assert sum(share for _, share in found["shares"]) == pytest.approx(1)


def test_what_is_missing_for_training_ends_with_3(segx: Run, copied: Path) -> None:
    train = (copied / "train.txt").read_text().split("_")[0]
    (copied / "masks" / f"{train}.tif").unlink()
    result = segx("data", "check", copied)
    assert result.code == 3
    assert "missing: 1 of 1 patches of train have no labels\n" in result.out
    assert result.out.splitlines()[-2:] == [
        "not fit: 0 damaged, 1 missing",
        f"next: segx data check {copied}",
    ]


def test_what_is_no_data_set_is_one_line(segx: Run, tmp_path: Path) -> None:
    result = segx("data", "check", tmp_path)
    assert result.code == 1
    assert len(result.complaints) == 1
    assert "holds no data set; expected" in result.complaints[0]


def test_tiles_of_another_size_are_looked_at(segx: Run, tmp_path: Path) -> None:
    write_tile(tmp_path / "p", "2_10")
    assert segx("data", "check", tmp_path / "p").code == 1
    result = segx("data", "check", tmp_path / "p", "--tile", "256")
    assert result.code == 3
    assert "there are no patches in the split val" in result.out


def test_a_scene_is_for_maps(segx: Run, tiny_scene: Path) -> None:
    result = segx("data", "check", tiny_scene, "--tile", "50")
    assert result.code == 0
    assert result.out.splitlines()[-2:] == [
        "whole: a scene is mapped and measured",
        f"next: segx infer {tiny_scene}",
    ]


# Splits


def test_whole_images_are_shared_out_alike_every_time(
    segx: Run, copied: Path, transcript: Run
) -> None:
    before = open_dataset(copied)
    result = segx("data", "split", copied, "--by", "sheet")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[-1].endswith("splits.json; next: segx data check " + str(copied))
    transcript("data-split", result.out)
    written = (copied / "splits.json").read_text()
    after = open_dataset(copied)
    areas = {split: {after.groups()[i] for i in ids} for split, ids in after.splits.items()}
    assert set(areas) == {"train", "val", "test"}
    assert sum(map(len, areas.values())) == len(set().union(*areas.values())) == 3
    assert after.groups() == before.groups()
    (copied / "splits.json").unlink()
    segx("data", "split", copied)
    assert (copied / "splits.json").read_text() == written


def test_a_splits_file_is_never_written_over(segx: Run, copied: Path) -> None:
    (copied / "splits.json").write_text("{}")
    result = segx("data", "split", copied)
    assert result.code == 1
    assert "splits.json is there and decides already; expected none" in result.complaints[0]
    assert (copied / "splits.json").read_text() == "{}"


def test_the_benchmarks_split_puts_the_mislabelled_tile_back(segx: Run, tmp_path: Path) -> None:
    root = write_potsdam(tmp_path / "p", seed=1, tile_px=512)
    assert segx("data", "split", root, "--by", "benchmark").code == 0
    found = json.loads((root / "splits.json").read_text())
    assert set(found) == {"train", "val"}
    assert "4_12" in found["train"]
    assert set(found["train"]) < set(BENCHMARK_TRAIN)
    assert set(found["val"]) < set(TEST_TILES)
    assert open_dataset(root).ids("train")


def test_the_benchmarks_split_is_wrong_usage_elsewhere(segx: Run, copied: Path) -> None:
    result = segx("data", "split", copied, "--by", "benchmark")
    assert result.code == 2
    assert "is ISPRS Potsdam's; use sheet" in result.err
    assert not (copied / "splits.json").exists()


def test_the_samples_of_both_layouts_say_what_to_train_on_them(
    segx: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = functools.partial(sample.write_potsdam, tile_px=512)
    monkeypatch.setattr(sample, "write_potsdam", small)
    result = segx("sample", "p", "--layout", "potsdam")
    assert result.code == 0
    assert (
        "synthetic data: 12 images with 12 tiles of 512 px (train 6, val 2, test 3)" in result.out
    )
    assert result.out.splitlines()[-1] == "wrote p; next: segx train p --config cse-unet-tiny"
    config, tree = load("cse-unet-tiny"), open_dataset(Path("p"))
    assert set(config.input.aerial_bands) <= set(tree.bands)
    assert config.num_classes == len(tree.classes)
    assert config.input.resolution_m == pytest.approx(tree.resolution_m(tree.ids("val")[0]))
    small = functools.partial(sample.write_folder, sizes=((300, 300), (64, 600)))
    monkeypatch.setattr(sample, "write_folder", small)
    result = segx("sample", "f", "--layout", "folder")
    assert result.code == 0
    assert "synthetic data: 2 images with 3 tiles of 512 px (train " in result.out
    assert result.out.splitlines()[-1] == "wrote f; next: segx train f --config CONFIG.toml"
