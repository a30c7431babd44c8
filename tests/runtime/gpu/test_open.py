"""Opening a bundle on the GPU: engines found or built, memory that is short, and what is kept."""

import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fake_gpu import CudaFailure, FakeGpu
from gpu_case import TENSORRT_RTX, GpuCase, random_feed, reference

from runtime.bundle import Bundle
from runtime.engines.build import BuildRequest, Built
from runtime.engines.target import here_platform
from runtime.errors import (
    BackendError,
    ConfigError,
    DeviceError,
    DeviceMemoryError,
    EngineError,
)
from runtime.gpu.model import GpuModel


def is_right(model: GpuModel, bundle: Bundle, *, batch: int = 1) -> bool:
    feed = random_feed(bundle, batch=batch)
    expected = reference(bundle, feed)
    return all((values == expected[name]).all() for name, values in model.run(feed).items())


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., GpuCase]:
    return lambda **options: GpuCase.install(monkeypatch, tmp_path, **options)


def test_engines_are_built_at_first_and_found_in_the_cache_later(
    install: Callable[..., GpuCase], small: Bundle
) -> None:
    case = install()
    case.open(small, batch=2).close()
    assert case.built == [("aerial", 2), ("satellite", 2), ("fusion", 2)]
    case.open(small, batch=2).close()
    assert len(case.built) == 3
    case.open(small, batch=2, variant="probabilities").close()
    assert case.built[3:] == [("fusion_probabilities", 2)]
    assert case.left() == {}


def test_engines_are_those_of_this_device_and_library(
    install: Callable[..., GpuCase], small: Bundle
) -> None:
    case = install(gpu=FakeGpu("Orin", (8, 7), driver=13020), version="10.16.1.11")
    case.open(small).close()
    (target,) = {record.target for record in case.cache.records()}
    assert target.builder == "tensorrt"
    assert target.builder_version == "10.16.1.11"
    assert (target.compute_capability, target.gpu) == ("8.7", "Orin")
    assert target.platform == here_platform()


def test_without_engines_and_leave_to_build_opening_is_refused(
    install: Callable[..., GpuCase], small: Bundle
) -> None:
    case = install()
    with pytest.raises(EngineError, match="no engine of small/aerial"):
        case.open(small, rebuild="never")
    assert case.built == []
    assert case.left() == {}


def test_a_machine_without_the_library_says_how_to_get_it(
    install: Callable[..., GpuCase], small: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = install()
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendError, match="tensorrt cannot be imported"):
        case.open(small)
    assert case.gpu.calls == []


def test_a_machine_without_a_gpu_is_told_so(install: Callable[..., GpuCase], small: Bundle) -> None:
    case = install(gpu=FakeGpu(devices=0))
    with pytest.raises(DeviceError, match="CUDA_ERROR_NO_DEVICE"):
        case.open(small)
    assert case.left() == {}


def test_a_batch_of_nothing_is_refused(install: Callable[..., GpuCase], small: Bundle) -> None:
    with pytest.raises(ConfigError, match="the batch is 0; expected at least 1"):
        install().open(small, batch=0)


def test_short_of_memory_one_feed_is_in_flight_and_it_is_said(
    install: Callable[..., GpuCase], small: Bundle
) -> None:
    # A context of the fake TensorRT takes a MiB for each tile: 6 contexts of 4 do not fit.
    case = install(version=TENSORRT_RTX, gpu=FakeGpu(memory_mib=16))
    with closing(case.open(small, batch=4)) as model:
        assert model.batch == 4
        assert is_right(model, small, batch=4)
        feeds = [random_feed(small, seed=seed) for seed in range(3)]
        for feed, result in zip(feeds, model.run_many(feeds), strict=True):
            assert (result["classes"] == reference(small, feed)["classes"]).all()
    (note,) = case.notes
    assert "OutOfMemory" in note
    assert note.endswith("trying without copying while computing")
    assert len(case.built) == 3
    assert case.left() == {}


def test_short_of_more_memory_the_batch_is_halved_and_it_is_said(
    install: Callable[..., GpuCase], small: Bundle
) -> None:
    case = install(gpu=FakeGpu(memory_mib=8))
    with closing(case.open(small, batch=8)) as model:
        assert model.batch == 2
        assert model.inputs[0].shape[0] == 2
        assert is_right(model, small, batch=2)
    halvings = [note for note in case.notes if "tiles per call" in note]
    assert [note.rpartition(": ")[2] for note in halvings] == [
        "trying 4 tiles per call, not 8",
        "trying 2 tiles per call, not 4",
    ]
    assert [batch for name, batch in case.built if name == "aerial"] == [8, 4, 2]
    assert case.left() == {}


def test_too_little_memory_for_a_single_tile_is_an_error(
    install: Callable[..., GpuCase], small: Bundle
) -> None:
    case = install(gpu=FakeGpu(memory_mib=2))
    with pytest.raises(DeviceMemoryError, match="choose a smaller batch"):
        case.open(small, batch=2)
    assert case.left() == {}


def refuse_memory(case: GpuCase, at: int) -> list[int]:
    """Let one allocation of device memory fail; gives the numbers of all as they come."""
    seen: list[int] = []
    fail = case.gpu.fail_if_told

    def fail_once(name: str) -> None:
        if name == "cuMemAlloc":
            seen.append(len(seen))
            if seen[-1] == at:
                raise CudaFailure("CUDA_ERROR_OUT_OF_MEMORY")
        fail(name)

    vars(case.gpu)["fail_if_told"] = fail_once
    return seen


def test_memory_that_a_second_slot_lacks_is_done_without(
    install: Callable[..., GpuCase], small: Bundle
) -> None:
    case = install()
    seen = refuse_memory(case, -1)
    case.open(small, batch=2).close()
    case = install()
    refuse_memory(case, seen[-1])
    with closing(case.open(small, batch=2)) as model:
        assert model.batch == 2
        assert is_right(model, small, batch=2)
    (note,) = case.notes
    assert note.startswith("cuMemAlloc failed with CUDA_ERROR_OUT_OF_MEMORY")
    assert case.left() == {}


def test_an_engine_that_cannot_be_built_for_lack_of_memory_is_built_for_fewer_tiles(
    install: Callable[..., GpuCase], small: Bundle
) -> None:
    case = install()
    build, tried = case._build, []

    def short(request: BuildRequest, out: Path, *, on_progress: Any) -> Built:
        most = max(shapes.max[0] for shapes in request.profile.values())
        tried.append(most)
        if most > 1:
            raise DeviceMemoryError("the builder ran out of memory; expected more; close programs")
        return build(request, out, on_progress=on_progress)

    case._build = short  # type: ignore[method-assign]
    with closing(case.open(small, batch=4)) as model:
        assert model.batch == 1
    assert tried == [4, 2, 1, 1, 1]
    assert case.notes == [
        "the builder ran out of memory: trying 2 tiles per call, not 4",
        "the builder ran out of memory: trying 1 tiles per call, not 2",
    ]


def test_what_was_compiled_is_kept_and_used_again(
    install: Callable[..., GpuCase], small: Bundle
) -> None:
    case = install(version=TENSORRT_RTX)
    case.open(small).close()
    assert case.trt.compilations == 3
    case = install(version=TENSORRT_RTX)
    with closing(case.open(small)) as model:
        assert case.trt.compilations == 0
        assert is_right(model, small)
    assert case.notes == []


def test_what_was_compiled_elsewhere_is_compiled_again_and_it_is_said(
    install: Callable[..., GpuCase], small: Bundle
) -> None:
    case = install(version=TENSORRT_RTX)
    case.open(small).close()
    files = sorted((case.cache.root / "runtime").glob("*.cache"))
    assert len(files) == 3
    foreign = json.dumps({"made_on": "another GPU", "kernels": []}).encode()
    for file in files:
        file.write_bytes(foreign)
    case = install(version=TENSORRT_RTX)
    with closing(case.open(small)) as model:
        assert is_right(model, small)
    assert case.trt.compilations == 3
    assert len(case.notes) == 3
    assert "part 'aerial' before does not fit" in case.notes[0]
    assert all(file.read_bytes() != foreign for file in files)


def test_what_was_compiled_and_cannot_be_kept_is_noted_only(
    install: Callable[..., GpuCase], small: Bundle
) -> None:
    case = install(version=TENSORRT_RTX)
    model = case.open(small)
    case.trt.fail("serialize", message="no room")
    model.close()
    assert len(case.notes) == 3
    assert "hand out what it compiled of part 'aerial' (no room)" in case.notes[0]
    assert case.left() == {}


def test_other_libraries_keep_nothing(install: Callable[..., GpuCase], small: Bundle) -> None:
    case = install()
    case.open(small).close()
    assert not (case.cache.root / "runtime").exists()


def test_parts_that_do_not_fit_together_leave_nothing(
    install: Callable[..., GpuCase], small: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = install()
    monkeypatch.setattr("runtime.gpu.pipe.Tensors.of", lambda parts: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        case.open(small)
    assert case.left() == {}
