"""A fake machine with a GPU, and a bundle that it runs in a few milliseconds."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from gpu_case import GpuCase

from runtime.bundle import Bundle, open_bundle
from runtime.gpu.model import GpuModel


@pytest.fixture(scope="session")
def small(write_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Two branches and both ends; tiles of 16 px, windows of 4 cells."""
    folder = tmp_path_factory.mktemp("gpu") / "small.segx"
    return open_bundle(write_bundle(folder, tile=16, halo=4, window=4))


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> GpuCase:
    return GpuCase.install(monkeypatch, tmp_path)


@pytest.fixture
def model(case: GpuCase, small: Bundle) -> Iterator[GpuModel]:
    """The bundle, opened for 3 tiles; nothing of it may be left in the end."""
    with closing(case.open(small, batch=3)) as opened:
        yield opened
    assert case.left() == {}
