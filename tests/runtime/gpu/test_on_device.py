"""The same on a GPU that is really there: `pytest -m gpu`."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gpu_case import random_feed, reference

from runtime.bundle import Bundle
from runtime.engines.cache import EngineCache
from runtime.engines.options import EnginePolicy
from runtime.engines.source import EngineSource
from runtime.engines.target import MODULES, EngineBuilder
from runtime.gpu.model import GpuModel
from runtime.gpu.open import open_gpu_model

pytestmark = pytest.mark.gpu


@pytest.fixture(params=MODULES)
def model(request: pytest.FixtureRequest, small: Bundle, tmp_path: Path) -> Iterator[GpuModel]:
    builder: EngineBuilder = request.param
    if importlib.util.find_spec(MODULES[builder]) is None:
        pytest.skip(f"{builder} is not installed")
    source = EngineSource(
        cache=EngineCache(tmp_path),
        policy=EnginePolicy(),
        segx_version="0.1.0",
        on_progress=lambda done, total, text: None,
        note=lambda text: None,
    )
    opened = open_gpu_model(small, builder, source=source, batch=2)
    yield opened
    opened.close()


def test_the_gpu_gives_what_the_graphs_give(model: GpuModel, small: Bundle) -> None:
    feeds = [random_feed(small, batch=1 + seed % 2, seed=seed) for seed in range(6)]
    expected = [reference(small, feed) for feed in feeds]
    for result, right in zip(model.run_many(feeds), expected, strict=True):
        assert np.mean(result["classes"] == right["classes"]) > 0.99
    for feed, right in zip(feeds, expected, strict=True):
        assert np.mean(model.run(feed)["classes"] == right["classes"]) > 0.99
    traced = model.trace(feeds[0])
    for name in ("aerial_logits", "satellite_logits"):
        np.testing.assert_allclose(traced[name], expected[0][name], rtol=1e-2, atol=1e-2)
    assert min(model.stage_ms.values()) > 0


def test_given_outputs_take_the_place_of_a_part(model: GpuModel, small: Bundle) -> None:
    feeds = [random_feed(small, seed=seed) for seed in range(6)]
    expected = [reference(small, feed) for feed in feeds]
    mixed = [
        {"aerial": feed["aerial"], "satellite_logits": right["satellite_logits"]}
        if place % 2
        else feed
        for place, (feed, right) in enumerate(zip(feeds, expected, strict=True))
    ]
    for result, right in zip(model.run_many(mixed), expected, strict=True):
        assert np.mean(result["classes"] == right["classes"]) > 0.99
