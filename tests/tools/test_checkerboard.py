import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

TOOL = Path(__file__).parents[2] / "tools" / "checkerboard.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("checkerboard", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["checkerboard"] = module
    spec.loader.exec_module(module)
    return module


def pattern(side: int, height: float) -> NDArray[np.float64]:
    """Two classes; every fourth row of the second one is higher."""
    logits = np.zeros((2, side, side))
    logits[1, ::4] = height
    return logits


def test_a_pattern_of_the_stride_is_found_whatever_the_size(tool: ModuleType) -> None:
    # One row in four: a spread of height x root(1/4 x 3/4) in one class of two.
    expected = 2.0 * np.sqrt(3 / 16 / 2)
    for side in (32, 34):
        assert tool.phase_spread(pattern(side, 2.0)) == pytest.approx(expected)


def test_what_is_no_pattern_is_not_found(tool: ModuleType) -> None:
    assert tool.phase_spread(np.full((3, 32, 32), 7.0)) == 0.0
    # A slope differs between phases by less than its rise over one stride.
    slope = np.broadcast_to(np.arange(64.0), (1, 64, 64))
    assert tool.phase_spread(slope) < 4
    assert tool.pixel_spread(slope) > 18
    wide = np.zeros((1, 64, 64))
    wide[:, ::8] = wide[:, 4::8] = 0.0
    wide[:, :32] = 5.0
    assert tool.phase_spread(wide) == 0.0


class Drawing:
    """A model whose map is a pattern over what the aerial image shows."""

    precision = "fp32"

    def __init__(self, height: float) -> None:
        self.height = height

    def run(self, feed: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
        shown = feed["aerial"][0, :1].astype(np.float64) / 40.0
        logits = pattern(shown.shape[-1], self.height) + np.concatenate((shown, -shown))
        shares = np.exp(logits)
        return {"probabilities": (shares / shares.sum(axis=0))[None]}


def test_the_index_grows_with_the_pattern_and_not_with_the_image(tool: ModuleType) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, 1, 1, 16, 16), dtype=np.uint8)
    real = [{"aerial": item.repeat(8, axis=2).repeat(8, axis=3)} for item in coarse]
    constant = {"aerial": np.full((1, 1, 128, 128), 127, dtype=np.uint8)}
    found = [
        tool.measure(name, Drawing(height), constant, real)
        for name, height in (("none", 0.0), ("some", 0.5), ("a (int8)", 1.0))
    ]
    assert found[0].constant < 1e-6
    assert found[0].real < 1e-6
    assert found[2].constant == pytest.approx(2 * found[1].constant, rel=0.05)
    assert found[2].real == pytest.approx(found[2].constant, rel=0.05)
    lines = tool.verdict(found[1:])
    assert len(lines) == 2
    assert all("MISSES 1.5 x" in line for line in lines)
    assert all("keeps to" in line for line in tool.verdict([found[2], found[2]]))
    assert tool.verdict([found[2], found[1]]) == []


def test_patterns_that_nobody_sees_are_not_judged(tool: ModuleType) -> None:
    first = tool.Found(name="a (fp32)", precision="fp32", constant=1e-4, real=0.2)
    other = tool.Found(name="a (int8)", precision="int8", constant=0.4, real=0.6)
    assert [("keeps to" in line) for line in tool.verdict([first, other])] == [True, False]
