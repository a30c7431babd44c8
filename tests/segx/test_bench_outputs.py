"""`segx bench` on several backends, its card, and what its comparison says and exits with."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.energy import EnergyMeter

Run = Callable[..., Any]
NONE: Callable[[str], list[Any]] = lambda device: []  # noqa: E731
SHORT = ("--warmup", 0, "--repeats", 2, "--threads", 1)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Print the same with and without a GPU, and on machines that tell their energy."""
    monkeypatch.setattr("runtime.usable.has_nvidia_driver", lambda: False)
    monkeypatch.setattr("runtime.bench_rounds.EnergyMeter", lambda device: EnergyMeter(find=NONE))


@pytest.fixture
def timed(segx: Run, tiny_bundle: Path, tiny_scene: Path) -> Callable[..., Any]:
    """Function that times the tiny bundle on ONNX Runtime with some options."""

    def run(*options: object) -> Any:
        backend = () if "--backends" in options else ("--backend", "onnxruntime")
        return segx("bench", tiny_bundle, "--scene", tiny_scene, *SHORT, *backend, *options)

    return run


def edit(path: Path, **changes: Any) -> None:
    """Change keys of the first result of a bench."""
    content = json.loads(path.read_text())
    content["results"][0] |= changes
    path.write_text(json.dumps(content))


def test_all_backends_are_those_that_can_be_used(timed: Run, tmp_path: Path) -> None:
    result = timed("--backends", "all", "--json", "b.json")
    assert result.code == 0, result.err
    found = json.loads((tmp_path / "b.json").read_text())
    assert [item["backend"] for item in found["results"]] == ["openvino", "onnxruntime"]
    assert found["settings"]["threads"] == 1
    assert re.fullmatch(r"[0-9a-f]{64}", found["settings"]["scene"])
    assert found["machine"]["processor_threads"] >= 1
    for name in ("tensorrt", "tensorrt-rtx", "onnxruntime-cuda"):
        assert f"passed over: {name} (no NVIDIA driver)" in result.out


def test_a_backend_that_is_not_known_is_one_line(timed: Run) -> None:
    for named in ("openvino,fast", ","):
        result = timed("--backends", named)
        assert (result.code, len(result.complaints)) == (1, 1)
        assert "expected all, or some of tensorrt" in result.err


def test_a_comparison_with_itself_passes(timed: Run, transcript: Run, tmp_path: Path) -> None:
    assert timed("--json", "old.json").code == 0
    result = timed("--compare", "old.json", "--max-slowdown", 9999, "--json", "new.json")
    assert result.code == 0, result.err
    transcript("bench-compare", re.sub(r"[+-](?=\d+\.\d)", "+", result.out))
    changes = json.loads((tmp_path / "new.json").read_text())["changes"]
    assert [item["figure"] for item in changes] == [
        *("median latency", "model alone", "end to end", "golden tile")
    ]


@pytest.mark.parametrize(
    ("then", "figure"),
    [
        ({"latency_ms": {"p50": 1e-6}}, "median latency, ms"),
        ({"golden_agreement": 1.5}, "golden tile, %"),
    ],
    ids=str,
)
def test_slower_or_less_accurate_is_exit_code_3(
    then: dict[str, Any], figure: str, timed: Run, tmp_path: Path
) -> None:
    assert timed("--json", "old.json").code == 0
    edit(tmp_path / "old.json", **then)
    result = timed("--compare", "old.json", "--max-slowdown", 9999, "--json", "new.json")
    assert result.code == 3
    failed = [line for line in result.out.splitlines() if line.endswith(" no")]
    assert len([line for line in failed if figure in line]) == 1
    assert (tmp_path / "new.json").is_file()
    assert result.out.splitlines()[-1].startswith("wrote new.json; next: segx inspect")


def test_another_machine_or_setting_is_refused_before_anything_is_timed(
    timed: Run, tmp_path: Path
) -> None:
    assert timed("--json", "old.json").code == 0
    content = json.loads((tmp_path / "old.json").read_text())
    for part, name in (("machine", "processor"), ("settings", "scene")):
        other = {**content, part: {**content[part], name: "another one"}}
        (tmp_path / "other.json").write_text(json.dumps(other))
        result = timed("--compare", "other.json")
        assert (result.code, len(result.complaints)) == (1, 1)
        assert f"other.json was measured with {name} 'another one'" in result.err
        assert "one tile, all parts" not in result.out


def test_a_bundle_that_was_not_timed_then_is_one_line(timed: Run, tmp_path: Path) -> None:
    assert timed("--json", "old.json").code == 0
    edit(tmp_path / "old.json", bundle="another")
    result = timed("--compare", "old.json")
    assert (result.code, len(result.complaints)) == (1, 1)
    assert "old.json holds another on onnxruntime; expected tiny on onnxruntime" in result.err


def test_a_card_and_a_page_are_written_and_said(
    timed: Run, tmp_path: Path, tiny_scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.node", lambda: "secrethost")
    result = timed("--card", "c.json", "--html", "b.html")
    assert result.code == 0, result.err
    assert "wrote c.json" in result.out.splitlines()
    assert result.out.splitlines()[-1].startswith("wrote b.html; next: segx inspect")
    card = (tmp_path / "c.json").read_text()
    (run,) = json.loads(card)["runs"]
    assert (run["backend"], run["executed"], run["sheet"]["joules"]) == (
        "onnxruntime",
        "fp32",
        None,
    )
    for private in ("secrethost", str(tmp_path), str(tiny_scene.parent), "aerial.tif", "/"):
        assert private not in card.replace("tiles/s", "")
    assert (tmp_path / "b.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--max-slowdown", 5),
        ("--max-loss", 1),
        ("--eval", "e.json"),
        ("--max-slowdown", -1, "--compare", "o.json"),
        ("--backends", "openvino", "--backend", "openvino"),
        ("--html", "b.html", "--protocol", "flair2", "--data", "d"),
        ("--card", "c.json", "--protocol", "flair2", "--data", "d"),
    ],
    ids=str,
)
def test_wrong_use_exits_2(segx: Run, tiny_bundle: Path, arguments: tuple[Any, ...]) -> None:
    bundle = () if "--protocol" in arguments else (tiny_bundle,)
    result = segx("bench", *bundle, *arguments)
    assert result.code == 2
    assert arguments[0] in result.err


def test_a_page_of_a_dry_run_is_wrong_use(segx: Run, tiny_scene: Path, tiny_bundle: Path) -> None:
    command = ("infer", tiny_scene, "--bundle", tiny_bundle, "--dry-run", "--html", "p.html")
    result = segx(*command)
    assert result.code == 2
    assert "there is no page of a --dry-run" in result.err
