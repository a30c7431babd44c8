"""`segx eval` under fewer months, shifted series and missing bands."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[..., Path]
Run = Callable[..., Any]

ASKED = (
    *("--dates", "12,1,0"),
    *("--shift-satellite", "0,20"),
    *("--drop-band", "red,B08,red"),
)


pytestmark = pytest.mark.usefixtures("no_gpu")


def scores_of(path: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads(path.read_text())["results"]
    return results


def test_a_bundle_is_measured_under_every_setting_in_one_table(
    segx: Run, tiny_scene: Path, write_bundle: Write, tmp_path: Path
) -> None:
    bundle = write_bundle(tmp_path / "alone.segx", single_branch=True)
    result = segx("eval", bundle, tiny_scene, *ASKED, "--json", "e.json", "--csv", "m.csv")
    assert result.code == 0, result.err
    found = scores_of(tmp_path / "e.json")
    names = ["as it is", "12 months", "1 month", "0 months"]
    names += ["satellite 0 m east", "satellite 20 m east", "without red", "without B08"]
    assert list(found) == names
    assert all(f"{name} " in result.out for name in names)
    plain = found["as it is"]
    assert found["12 months"] == found["satellite 0 m east"] == plain
    for name in ("1 month", "0 months", "without red"):
        assert found[name]["matrix"] != plain["matrix"], name
    assert {scores["scores"]["pixels"] for scores in found.values()} == {plain["scores"]["pixels"]}


def test_zero_months_are_what_the_aerial_branch_says_alone(
    segx: Run, tiny_scene: Path, write_bundle: Write, tmp_path: Path
) -> None:
    both = write_bundle(tmp_path / "both.segx", single_branch=True)
    aerial = write_bundle(tmp_path / "aerial.segx", satellite=False)
    segx("eval", both, tiny_scene, "--dates", "0", "--json", "both.json")
    segx("eval", aerial, tiny_scene, "--drop-band", "nir", "--json", "aerial.json")
    found, expected = scores_of(tmp_path / "both.json"), scores_of(tmp_path / "aerial.json")
    assert found["0 months"] == expected["as it is"]
    assert found["as it is"] != expected["as it is"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--dates", "0"), 1, "does not say that its aerial branch maps alone"),
        (("--dates", "3,x"), 2, "--dates holds 'x'"),
        (("--dates", "1.5"), 2, "--dates holds '1.5'"),
        (("--shift-satellite", "far"), 2, "--shift-satellite holds 'far'"),
        (("--drop-band", "B99"), 1, "expected one of them, not 'B99'"),
    ],
)
def test_settings_that_mean_nothing_are_refused(
    segx: Run,
    tiny_scene: Path,
    tiny_bundle: Path,
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    result = segx("eval", tiny_bundle, tiny_scene, *options)
    assert result.code == code
    assert message in " ".join(result.err.replace("│", " ").split())
