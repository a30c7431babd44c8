import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Write = Callable[..., Path]
Run = Callable[..., Any]
SHORT = ("--warmup", 1, "--repeats", 2, "--threads", 1)


def test_bundles_are_timed_side_by_side(
    segx: Run,
    tiny_bundle: Path,
    tiny_scene: Path,
    transcript: Run,
    write_bundle: Write,
    tmp_path: Path,
) -> None:
    alone = write_bundle(tmp_path / "alone.segx", satellite=False)
    arguments = ("--scene", tiny_scene, "--json", "b.json", *SHORT)
    result = segx("bench", tiny_bundle, alone, *arguments)
    assert result.code == 0, result.err
    transcript("bench", result.out)
    assert result.complaints == []
    found = json.loads((tmp_path / "b.json").read_text())["results"]
    assert [item["bundle"] for item in found] == ["tiny", "alone"]
    assert all(item["golden_agreement"] == 1 and item["inside"] for item in found)


def test_the_newest_verified_bundle_is_timed(
    segx: Run, write_bundle: Write, tiny_scene: Path, tmp_path: Path
) -> None:
    write_bundle(tmp_path / "deep" / "b.segx")
    result = segx("bench", "--scene", tiny_scene, *SHORT)
    assert result.code == 0, result.err
    assert result.out.startswith(
        f"bundle: {tmp_path / 'deep' / 'b.segx'} (the newest verified one)"
    )
    assert result.out.splitlines()[-1] == f"next: segx inspect {tmp_path / 'deep' / 'b.segx'}"


def test_a_bundle_that_is_not_there_is_one_line(segx: Run, tiny_scene: Path) -> None:
    result = segx("bench", "nowhere.segx", "--scene", tiny_scene, *SHORT)
    assert result.code == 1
    assert [line.split(";")[0] for line in result.complaints] == [
        "segx: nowhere.segx has no manifest.json"
    ]


def test_a_scene_that_is_not_there_is_one_line(segx: Run, tiny_bundle: Path) -> None:
    result = segx("bench", tiny_bundle, "--scene", "nowhere", *SHORT)
    assert (result.code, len(result.complaints)) == (1, 1)
    assert "nowhere is not there" in result.err


def test_no_repeats_are_wrong_use(segx: Run, tiny_bundle: Path) -> None:
    assert segx("bench", tiny_bundle, "--repeats", 0).code == 2
