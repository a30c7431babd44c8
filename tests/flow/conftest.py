"""Data for every preset, and its bundles in every precision, made once and kept for all tests."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from runtime.bundle import Bundle
from runtime.manifest import Precision
from tools.preset_bundles import make_bundles, sample_for

PresetBundles = Callable[[str], dict[Precision, Bundle]]


@pytest.fixture(scope="session")
def sample_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Function that gives the data set that a preset is for; it is written once."""
    return partial(sample_for, folder=tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="session")
def preset_bundles(
    tmp_path_factory: pytest.TempPathFactory, sample_of: Callable[[str], Path]
) -> PresetBundles:
    """Function that gives the bundles of a preset with random weights, by precision."""
    folder = tmp_path_factory.mktemp("presets")
    made: dict[str, dict[Precision, Bundle]] = {}

    def give(preset: str) -> dict[Precision, Bundle]:
        if preset not in made:
            made[preset] = make_bundles(preset, folder, sample_of(preset))
        return made[preset]

    return give
