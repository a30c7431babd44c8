"""Which engines an export leaves behind, with stand-ins for TensorRT, the GPU and the builder."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from fake_engines import FakeBuild
from fake_tensorrt import install_tensorrt, make_tensorrt

import exporter.engines
from exporter.engines import EngineRequest, build_engines, plan_engines
from runtime.bundle import open_bundle
from runtime.engines.cache import EngineCache
from runtime.engines.options import BuildOptions
from runtime.engines.source import EngineSource
from runtime.engines.target import ANY_GPU, here_platform
from runtime.errors import BackendError, ConfigError, DeviceError, EngineError
from runtime.gpu.device import DeviceInfo

RTX = "1.7.1.116"
HAVE = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Function that says what is installed and which GPU is there: `here("10.3.0", gpu="8.7")`."""

    def set_up(*versions: str, gpu: str | None = None) -> None:
        for name in ("tensorrt", "tensorrt_rtx"):
            monkeypatch.setitem(sys.modules, name, None)
        for version in versions:
            install_tensorrt(monkeypatch, make_tensorrt(version))
        monkeypatch.setattr(exporter.engines, "has_nvidia_driver", lambda: gpu is not None)
        if gpu is not None:
            monkeypatch.setattr(exporter.engines, "find_gpu", lambda: gpu_info(gpu))

    return set_up


def gpu_info(capability: str) -> DeviceInfo:
    return DeviceInfo(
        name="A GPU",
        compute_capability=capability,
        memory_mib=8192,
        free_mib=8000,
        driver="13.0",
        integrated=False,
    )


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeBuild:
    """A builder that writes a few bytes; the cache lies in `tmp_path / "cache"`."""
    build = FakeBuild()
    monkeypatch.setattr(exporter.engines, "EngineSource", partial(EngineSource, build=build))
    monkeypatch.setenv("SEGX_CACHE", str(tmp_path / "cache"))
    return build


def test_auto_builds_for_the_gpu_that_is_there_with_tensorrt_first(
    here: Callable[..., None],
) -> None:
    here("10.3.0", RTX, gpu="8.6")
    (target,) = plan_engines(EngineRequest()).targets
    assert (target.builder, target.builder_version) == ("tensorrt", "10.3.0")
    assert (target.compute_capability, target.gpu) == ("8.6", "A GPU")
    assert target.platform == here_platform()
    here(RTX, gpu="8.6")
    (target,) = plan_engines(EngineRequest()).targets
    assert (target.builder, target.builder_version) == ("tensorrt-rtx", RTX)


def test_auto_without_a_gpu_says_that_the_device_builds(here: Callable[..., None]) -> None:
    here("10.3.0", RTX)
    plan = plan_engines(EngineRequest())
    assert plan.targets == ()
    assert plan.reason == "no NVIDIA driver is here; the device builds them at its first run"


def test_auto_passes_over_what_does_not_build_for_this_gpu(here: Callable[..., None]) -> None:
    here(RTX, gpu="9.0")
    plan = plan_engines(EngineRequest())
    assert plan.targets == ()
    assert "Python module tensorrt cannot be imported" in plan.reason
    assert f"tensorrt-rtx {RTX} does not list A GPU (9.0) among 7.5, 8.0" in plan.reason
    assert plan.reason.endswith("the device builds them at its first run")


def test_none_builds_none(here: Callable[..., None]) -> None:
    here("10.3.0", gpu="8.6")
    assert plan_engines(EngineRequest(builder="none")).targets == ()


@pytest.mark.parametrize("builder", ["tensorrt", "tensorrt-rtx"])
def test_a_builder_that_is_named_needs_a_gpu(here: Callable[..., None], builder: str) -> None:
    here("10.3.0", RTX)
    with pytest.raises(DeviceError, match=rf"no NVIDIA driver.*{builder}.*--compute-capability"):
        plan_engines(EngineRequest(builder=builder))  # type: ignore[arg-type]


def test_a_builder_that_is_named_must_be_installed(
    here: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    here(RTX, gpu="8.6")
    with pytest.raises(BackendError, match="tensorrt cannot be imported"):
        plan_engines(EngineRequest(builder="tensorrt"))
    monkeypatch.setattr(exporter.engines, "installed", lambda module: False)
    for request in (
        EngineRequest(builder="tensorrt-rtx"),
        EngineRequest(builder="tensorrt-rtx", compute_capabilities=("8.6",)),
    ):
        with pytest.raises(BackendError, match=r"polygraphy is not installed.*segx\[tensorrt\]"):
            plan_engines(request)


def test_by_name_a_gpu_that_is_not_listed_is_tried_and_said(here: Callable[..., None]) -> None:
    here(RTX, gpu="9.0")
    plan = plan_engines(EngineRequest(builder="tensorrt-rtx"))
    assert [target.compute_capability for target in plan.targets] == ["9.0"]
    assert plan.reason.startswith(f"for A GPU; tensorrt-rtx {RTX} does not list A GPU (9.0)")


def test_ahead_of_time_needs_no_gpu(here: Callable[..., None]) -> None:
    here(RTX)
    wanted = ("8.6", "12.0", "8.6")
    plan = plan_engines(EngineRequest(builder="tensorrt-rtx", compute_capabilities=wanted))
    found = [(target.compute_capability, target.gpu) for target in plan.targets]
    assert found == [("8.6", ANY_GPU), ("12.0", ANY_GPU)]


@pytest.mark.parametrize("capability", ["8.7", "9.0", "", "86"])
def test_an_unknown_compute_capability_is_refused_with_the_known(
    here: Callable[..., None], capability: str
) -> None:
    here(RTX)
    request = EngineRequest(builder="tensorrt-rtx", compute_capabilities=("8.6", capability))
    with pytest.raises(EngineError, match=rf"capability {capability} .*{', '.join(HAVE)};"):
        plan_engines(request)


@pytest.mark.parametrize("builder", ["auto", "none", "tensorrt"])
def test_only_tensorrt_rtx_builds_ahead_of_time(builder: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{builder}'.*tensorrt-rtx, which alone"):
        EngineRequest(builder=builder, compute_capabilities=("8.6",))  # type: ignore[arg-type]


def request(**changes: object) -> EngineRequest:
    capabilities = ("8.6", "8.9")
    return EngineRequest(builder="tensorrt-rtx", compute_capabilities=capabilities, **changes)  # type: ignore[arg-type]


def test_every_part_is_built_for_every_target_and_found_again(
    here: Callable[..., None], builder: FakeBuild, tiny_bundle: Path
) -> None:
    here(RTX)
    bundle = open_bundle(tiny_bundle)
    told: list[tuple[int, int, str]] = []
    made = build_engines(
        bundle,
        plan_engines(request()),
        segx_version="0.1.0",
        on_progress=lambda *now: told.append(now),
    )
    parts = ["aerial", "satellite", "fusion", "fusion_probabilities"]
    assert [(item.record.target.sm, item.record.part) for item in made] == [
        (sm, part) for sm in ("sm_86", "sm_89") for part in parts
    ]
    assert all(item.built and item.path.is_file() for item in made)
    assert told[0][1] == told[-1][0] == 8
    assert len(EngineCache().records()) == 8
    again = build_engines(bundle, plan_engines(request()), segx_version="0.1.0")
    assert not any(item.built for item in again)
    forced = build_engines(bundle, plan_engines(request(force=True)), segx_version="0.1.0")
    assert all(item.built for item in forced)


def test_engines_go_to_a_folder_that_is_named_with_the_options(
    here: Callable[..., None], builder: FakeBuild, tiny_bundle: Path, tmp_path: Path
) -> None:
    here(RTX)
    options = BuildOptions(workspace_mib=512, optimization_level=1)
    plan = plan_engines(request(folder=tmp_path / "carry", options=options))
    made = build_engines(open_bundle(tiny_bundle), plan, segx_version="0.1.0")
    assert {item.path.parent for item in made} == {tmp_path / "carry"}
    assert {item.record.options.optimization_level for item in made} == {1}
    assert EngineCache().records() == ()


def test_nothing_is_built_where_nothing_was_planned(
    here: Callable[..., None], builder: FakeBuild, tiny_bundle: Path
) -> None:
    here(RTX)
    plan = plan_engines(EngineRequest())
    assert build_engines(open_bundle(tiny_bundle), plan, segx_version="0.1.0") == ()
    assert EngineCache().records() == ()


def test_a_device_without_torch_and_onnx_can_build() -> None:
    code = (
        "import sys, exporter.engines\n"
        "heavy = {'torch', 'onnx', 'trainkit', 'tensorrt', 'tensorrt_rtx', 'polygraphy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
