import json
from pathlib import Path
from typing import Any

import pytest
from fake_gpu import FakeGpu
from fake_tensorrt import FakeTensorRT, make_tensorrt, surface_versions

from runtime.engines.api import make_logger
from runtime.engines.timing import load_timings, save_timings

VERSIONS = [version for version in surface_versions() if not version.startswith("1.")]


class Bench:
    """A builder's configuration, and what its library warned of."""

    def __init__(self, version: str, gpu: FakeGpu | None = None) -> None:
        self.trt: FakeTensorRT = make_tensorrt(version, gpu=gpu or FakeGpu())
        self._said: list[str] = []
        self._logger = make_logger(self.trt, lambda severity, text: self._said.append(text))
        self.config: Any = self.trt.Builder(self._logger).create_builder_config()

    def said(self) -> str:
        words, self._said = self._said, []
        return " / ".join(words)

    def load(self, path: Path) -> str:
        return load_timings(self.config, path, self.said)

    def measure(self, kernel: str) -> None:
        """As a build does."""
        self.config.get_timing_cache()._entries[kernel] = 1.0


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "timing" / "a.cache"


def test_timings_of_one_build_are_there_in_the_next(version: str, path: Path) -> None:
    first = Bench(version)
    assert first.load(path) == ""
    first.measure("gemm")
    assert save_timings(first.config, path) == ""
    second = Bench(version)
    assert second.load(path) == ""
    second.measure("conv")
    assert save_timings(second.config, path) == ""
    assert set(json.loads(path.read_bytes())["entries"]) == {"gemm", "conv"}
    assert [file.name for file in path.parent.iterdir()] == ["a.cache"]


def test_damaged_timings_are_started_anew_with_a_note(version: str, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"damaged")
    bench = Bench(version)
    note = bench.load(path)
    assert note.startswith(f"timings are started anew: {path} cannot be used (")
    assert "The timing cache will not be used!" in note
    bench.measure("gemm")
    assert save_timings(bench.config, path) == ""
    assert Bench(version).load(path) == ""


def test_timings_of_another_gpu_are_not_used(version: str, path: Path) -> None:
    first = Bench(version)
    first.load(path)
    first.measure("gemm")
    save_timings(first.config, path)
    other = Bench(version, FakeGpu("Fake RTX 3060", (8, 6)))
    assert "made by another version or device" in other.load(path)
    assert other.config.get_timing_cache()._entries == {}


def test_a_library_that_raises_for_damaged_timings_is_given_none(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"damaged")
    bench = Bench("10.3.0")
    make = bench.config.create_timing_cache

    def create(data: bytes) -> Any:
        if data:
            raise TypeError("a null pointer")
        return make(data)

    bench.config.create_timing_cache = create
    note = bench.load(path)
    assert "cannot be used (no reason given)" in note
    assert bench.config.get_timing_cache() is not None


def test_timings_that_are_no_file_are_neither_read_nor_kept(version: str, path: Path) -> None:
    path.mkdir(parents=True)
    bench = Bench(version)
    assert bench.load(path).startswith(f"timings are started anew: {path} cannot be read")
    assert bench.config.get_timing_cache() is not None
    note = save_timings(bench.config, path)
    assert note.startswith(f"timings are not kept: {path} cannot be written")
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("fails", ["get_timing_cache", "serialize"])
def test_a_library_that_gives_no_timings_leaves_the_file_as_it_was(
    fails: str, version: str, path: Path
) -> None:
    bench = Bench(version)
    bench.load(path)
    save_timings(bench.config, path)
    before = path.read_bytes()
    bench.measure("gemm")
    bench.trt.fail(fails)
    assert save_timings(bench.config, path) == (
        f"timings are not kept: TensorRT gave none for {path}"
    )
    assert path.read_bytes() == before
