import importlib
from pathlib import Path
from typing import Any

import onnx
import pytest
from fake_gpu import FakeGpu
from fake_tensorrt import FakeTensorRT, install_tensorrt, make_tensorrt, surface_versions

from runtime.engines.api import (
    Abilities,
    ContextSettings,
    builder_version,
    context_for,
    context_settings,
    engine_validity,
    load_tensorrt,
    make_logger,
    make_progress_monitor,
    new_runtime,
    probe,
    set_target,
)
from runtime.engines.target import ANY_GPU, EngineBuilder, Target
from runtime.errors import BackendError, EngineError

ROOT = Path(__file__).parents[3]
RTX = "1.7.1.116"
TENSORRT = sorted(set(surface_versions()) - {RTX})
BUILDERS: dict[str, EngineBuilder] = {
    version: "tensorrt-rtx" if version == RTX else "tensorrt" for version in surface_versions()
}
RTX_TARGETS = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")


def target(version: str, compute_capability: str = "8.9", gpu: str = ANY_GPU) -> Target:
    return Target(
        builder=BUILDERS[version],
        builder_version=version,
        compute_capability=compute_capability,
        gpu=gpu,
        platform="linux-x86_64",
    )


GRAPH = """<ir_version: 10, opset_import: ["" : 20]>
g (float[N,4] x) => (float[N,4] y) { y = Relu(x) }"""


def built(trt: FakeTensorRT) -> bytes:
    """An engine of a small graph."""
    builder = trt.Builder(trt.Logger())
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    trt.OnnxParser(network, trt.Logger()).parse(onnx.parser.parse_model(GRAPH).SerializeToString())
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    profile.set_shape("x", (1, 4), (1, 4), (1, 4))
    config.add_optimization_profile(profile)
    return bytes(builder.build_serialized_network(network, config))


def opened(trt: FakeTensorRT) -> Any:
    return new_runtime(trt, trt.Logger()).deserialize_cuda_engine(built(trt))


# Importing


@pytest.mark.parametrize("version", surface_versions())
def test_a_library_is_imported_and_tells_its_version(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt = install_tensorrt(monkeypatch, make_tensorrt(version))
    assert load_tensorrt(BUILDERS[version]) is trt
    assert builder_version(trt) == version


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module named 'tensorrt'"), "No module named 'tensorrt'"),
        (OSError("libnvinfer.so.10: cannot open shared object file"), "libnvinfer.so.10"),
        (RuntimeError("TensorRT currently only builds wheels for Linux"), "only builds wheels"),
    ],
)
def test_a_library_that_cannot_be_imported_is_refused_with_how_to_install_it(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> Any:
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(BackendError, match=said) as caught:
        load_tensorrt("tensorrt")
    assert "; expected tensorrt in this environment; " in str(caught.value)
    assert "--system-site-packages" in str(caught.value)
    with pytest.raises(BackendError, match="pip install tensorrt-rtx"):
        load_tensorrt("tensorrt-rtx")


# What a library can do


ABILITIES = {
    version: Abilities(
        strongly_typed=True,
        timing_cache=True,
        progress_monitor=True,
        ahead_of_time=False,
        compute_capabilities=(),
        runtime_cache=False,
        cuda_graph_strategy=False,
        validity_check=False,
    )
    for version in TENSORRT
} | {
    RTX: Abilities(
        strongly_typed=True,
        timing_cache=False,
        progress_monitor=True,
        ahead_of_time=True,
        compute_capabilities=RTX_TARGETS,
        runtime_cache=True,
        cuda_graph_strategy=True,
        validity_check=True,
    )
}


@pytest.mark.parametrize("version", surface_versions())
def test_what_a_library_can_do_is_read_off_its_names(version: str) -> None:
    trt = make_tensorrt(version)
    assert probe(trt) == ABILITIES[version]
    assert not trt.missing


def test_what_a_library_can_do_does_not_follow_from_its_version() -> None:
    trt = make_tensorrt("10.3.0")
    vars(trt)["__version__"] = "99.0"
    assert probe(trt) == ABILITIES["10.3.0"]


def test_a_library_without_strong_types_is_known_as_such() -> None:
    trt = make_tensorrt("10.3.0")
    type.__delattr__(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
    assert not probe(trt).strongly_typed


# Targets


def configuration(trt: FakeTensorRT) -> Any:
    return trt.Builder(trt.Logger()).create_builder_config()


@pytest.mark.parametrize("capability", RTX_TARGETS)
def test_ahead_of_time_a_known_compute_capability_is_built_for(capability: str) -> None:
    trt = make_tensorrt(RTX)
    config = configuration(trt)
    set_target(trt, probe(trt), config, target(RTX, capability))
    assert config.num_compute_capabilities == 1
    assert config.get_compute_capability(0).name == "SM" + capability.replace(".", "")


@pytest.mark.parametrize("capability", ["9.0", "8.7"])
def test_a_compute_capability_that_is_not_listed_is_built_for_on_such_a_gpu_only(
    capability: str,
) -> None:
    trt = make_tensorrt(RTX)
    config = configuration(trt)
    set_target(trt, probe(trt), config, target(RTX, capability, "NVIDIA H200"))
    assert config.get_compute_capability(0).name == "CURRENT"
    with pytest.raises(EngineError, match=rf"does not build for compute capability {capability}"):
        set_target(trt, probe(trt), config, target(RTX, capability))


@pytest.mark.parametrize("version", TENSORRT)
def test_tensorrt_builds_for_the_gpu_that_is_there_only(version: str) -> None:
    trt = make_tensorrt(version, gpu=FakeGpu())
    config = configuration(trt)
    set_target(trt, probe(trt), config, target(version, gpu="Fake"))
    with pytest.raises(EngineError, match="builds for the GPU that it runs on; expected"):
        set_target(trt, probe(trt), config, target(version))
    assert not trt.missing


# Opening engines


@pytest.mark.parametrize("version", TENSORRT)
def test_without_a_gpu_there_is_no_runtime(version: str) -> None:
    trt = make_tensorrt(version)
    with pytest.raises(EngineError, match=r"runtime cannot be made \(.*\); expected a GPU"):
        new_runtime(trt, trt.Logger())


def test_a_runtime_that_is_nothing_is_refused() -> None:
    class Nothing:
        Runtime = staticmethod(lambda logger: None)

    with pytest.raises(EngineError, match=r"runtime cannot be made \(it gave nothing\)"):
        new_runtime(Nothing, None)


def test_a_logger_hands_on_severity_and_text() -> None:
    trt = make_tensorrt("10.3.0", gpu=FakeGpu())
    said: list[tuple[str, str]] = []
    runtime = new_runtime(trt, make_logger(trt, lambda *words: said.append(words)))
    assert runtime.deserialize_cuda_engine(b"no engine") is None
    ((severity, text),) = said
    assert severity == "ERROR"
    assert "deserializeCudaEngine" in text


@pytest.mark.parametrize("version", surface_versions())
def test_a_monitor_hears_the_phases_of_a_build(version: str) -> None:
    class Listener:
        heard: list[tuple[object, ...]] = []  # noqa: RUF012

        def start(self, phase: str, parent: str | None, steps: int) -> None:
            self.heard.append((phase, parent, steps))

        def step(self, phase: str, step: int) -> None:
            self.heard.append((phase, step))

        def finish(self, phase: str) -> None:
            self.heard.append((phase,))

    trt, listener = make_tensorrt(version, gpu=FakeGpu()), Listener()
    monitor = make_progress_monitor(trt, listener)
    monitor.phase_start("a", None, 2)
    assert monitor.step_complete("a", 0) is True
    monitor.phase_finish("a")
    assert listener.heard == [("a", None, 2), ("a", 0), ("a",)]


def test_a_library_that_can_says_why_an_engine_cannot_be_opened() -> None:
    data = built(make_tensorrt(RTX))
    trt = make_tensorrt(RTX, gpu=FakeGpu("Fake H200", (9, 0)))
    runtime, abilities = new_runtime(trt, trt.Logger()), probe(trt)
    assert engine_validity(trt, abilities, runtime, data) == "unsupported cc"
    assert engine_validity(trt, abilities, runtime, b"x" * 99) == "malformed engine"
    # The head of an engine is enough.
    assert trt.called("get_engine_validity")[0].args == (f"<{runtime.engine_header_size} bytes>",)
    here = make_tensorrt(RTX, gpu=FakeGpu("Fake 4090", (8, 9)))
    assert engine_validity(here, probe(here), new_runtime(here, here.Logger()), data) == ""
    nowhere = make_tensorrt(RTX)
    runtime = new_runtime(nowhere, nowhere.Logger())
    assert engine_validity(nowhere, probe(nowhere), runtime, data) == "no reason given"


@pytest.mark.parametrize("version", TENSORRT)
def test_a_library_that_cannot_say_why_is_not_asked(version: str) -> None:
    trt = make_tensorrt(version, gpu=FakeGpu())
    assert engine_validity(trt, probe(trt), new_runtime(trt, trt.Logger()), b"no engine") == ""
    assert not trt.missing


def settings_for(
    trt: FakeTensorRT, engine: Any, runtime_cache: bytes | None = None
) -> ContextSettings:
    settings = context_settings(trt, probe(trt), engine, runtime_cache=runtime_cache)
    assert settings is not None
    return settings


@pytest.mark.parametrize("version", TENSORRT)
def test_where_nothing_is_compiled_on_opening_contexts_need_no_settings(version: str) -> None:
    trt = make_tensorrt(version, gpu=FakeGpu())
    engine = opened(trt)
    settings = settings_for(trt, engine, b"left over")
    assert (settings.config, settings.compiled()) == (None, None)
    assert context_for(engine, settings) is not None
    assert not trt.missing


def test_contexts_capture_graphs_and_keep_what_was_compiled() -> None:
    trt = make_tensorrt(RTX, gpu=FakeGpu())
    engine = opened(trt)
    settings = settings_for(trt, engine)
    assert settings.config.cuda_graph_strategy == trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    assert settings.config.get_runtime_cache() is settings.cache
    context = context_for(engine, settings)
    assert context is not None
    compiled = settings.compiled()
    assert compiled
    again = settings_for(trt, engine, compiled)
    assert again.cache_fits
    other = make_tensorrt(RTX, gpu=FakeGpu("another", (8, 6)))
    elsewhere = settings_for(other, opened(other), compiled)
    assert not elsewhere.cache_fits
    assert elsewhere.config.get_runtime_cache() is elsewhere.cache


@pytest.mark.parametrize(
    "name", ["create_runtime_config", "create_runtime_cache", "set_runtime_cache"]
)
def test_settings_that_tensorrt_refuses_to_make_are_none(name: str) -> None:
    trt = make_tensorrt(RTX, gpu=FakeGpu())
    engine = opened(trt)
    trt.fail(name, returns=False if name.startswith("set") else None)
    assert context_settings(trt, probe(trt), engine) is None
