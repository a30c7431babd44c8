"""`segx satellite` as a user runs it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


def test_products_become_a_series(
    segx: Run, safe: Path, transcript: Callable[[str, str], None]
) -> None:
    result = segx("satellite", "--from", safe, "--out", "s2", "--json", "made.json")
    assert result.code == 0
    transcript("satellite", result.out)
    made = json.loads(Path("made.json").read_text())
    assert [(item["offset"], item["offset_origin"]) for item in made["dates"]] == [
        (0, "metadata"),
        (1000, "metadata"),
    ]
    assert result.out.splitlines()[-1] == "wrote s2; next: segx infer INPUT --satellite s2"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "s2"], "give one of --from DIR and --year Y"),
        (["--from", ".", "--year", "2021"], "give one of --from DIR and --year Y"),
        (["--year", "2021"], "needs the aerial image"),
        (["--from", ".", "--max-cloud", "5"], "are for --year"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(
    segx: Run, arguments: list[str], words: str
) -> None:
    result = segx("satellite", *arguments)
    assert result.code == 2
    assert words in " ".join(result.err.split())


def test_a_folder_without_products_is_one_line(segx: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = segx("satellite", "--from", "empty")
    assert result.code == 1
    assert result.complaints == [
        "segx: empty holds no Sentinel-2 product; expected .SAFE folders or zips, STAC items, or "
        "files of one band each such as T33UWS_20210619T100031_B02_10m.jp2; check the path"
    ]


def test_the_sample_is_converted_by_the_command_that_it_names(segx: Run, series: Path) -> None:
    made = segx("sample", "products", "--layout", "safe", "--series", series)
    assert made.code == 0
    assert "2 Sentinel-2 products" in made.out
    line = made.out.splitlines()[-1]
    assert line == "wrote products; next: segx satellite --from products --out products/sentinel2"
    assert segx(*line.split("segx ")[1].split()).code == 0
    assert segx("sample", "x", "--series", series).code == 2
