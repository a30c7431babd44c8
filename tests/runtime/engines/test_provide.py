import errno
import hashlib
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from fake_engines import ADA, ANY_ADA, ORIN, Workbench

from runtime.bundle import open_bundle
from runtime.engines.build import build_engine
from runtime.engines.cache import EngineCache
from runtime.engines.options import BuildOptions
from runtime.engines.profiles import batch_profile, profile_text
from runtime.engines.provide import Obtained, build_all, obtain
from runtime.engines.record import record_text
from runtime.engines.source import EngineSource
from runtime.engines.target import Target
from runtime.errors import EngineError

UPGRADED = replace(ORIN, builder_version="11.4.0", compute_capability="8.9", gpu="Ada")
Get = Callable[..., Obtained]


@pytest.fixture
def bench(tiny_bundle: Path, tmp_path: Path) -> Workbench:
    """An empty cache, and a fake builder."""
    return Workbench(open_bundle(tiny_bundle), EngineCache(tmp_path / "cache"))


@pytest.fixture
def get(bench: Workbench) -> Get:
    """Function that obtains the aerial part's engine: `get(target, batch=2, rebuild="never")`."""

    def get(target: Target = ORIN, *, batch: int = 1, **policy: Any) -> Obtained:
        part = bench.bundle.manifest.parts[0]
        return obtain(bench.bundle, part, target, batch=batch, source=bench.source(**policy))

    return get


def refusal(get: Get, *arguments: Any, **policy: Any) -> str:
    with pytest.raises(EngineError) as refused:
        get(*arguments, **policy)
    message = str(refused.value)
    assert message.count(";") >= 2, "found; expected; remedy"
    return message


def test_an_engine_is_built_when_first_needed_and_found_after_that(
    bench: Workbench, get: Get
) -> None:
    first, second = get(), get()
    assert (first.built, second.built) == (True, False)
    assert (first.data, first.record) == (second.data, second.record)
    assert len(bench.build.requests) == 1
    assert bench.notes == []
    assert bench.progress == [(1, 2, "timing kernels")]


def test_a_record_says_what_was_built_by_what_and_how(bench: Workbench, get: Get) -> None:
    made = get(batch=2, build=BuildOptions(workspace_mib=1024))
    record, bundle = made.record, bench.bundle
    part = bundle.manifest.parts[0]
    assert (record.bundle, record.bundle_sha256, record.part) == ("tiny", bundle.sha256, "aerial")
    assert record.onnx_sha256 == hashlib.sha256(bundle.file(part).read_bytes()).hexdigest()
    assert record.target == ORIN
    assert record.profile == profile_text(batch_profile(part, opt=2, most=2))
    assert (record.precision, record.segx_version) == ("fp32", "0.1.0")
    assert record.engine_sha256 == hashlib.sha256(made.data).hexdigest()
    assert record.size_bytes == len(made.data)
    assert record.options == BuildOptions(workspace_mib=512), "what the build ended with"
    assert (record.build_seconds, record.notes) == (2.5, ("half the workspace",))


def test_a_build_is_asked_for_what_is_needed(bench: Workbench, get: Get) -> None:
    options = BuildOptions(optimization_level=2)
    get(ADA, batch=3, build=options)
    get(ORIN, build=replace(options, timing_cache=False))
    part = bench.bundle.manifest.parts[0]
    first, second = bench.build.requests
    assert (first.onnx, first.part) == (bench.bundle.file(part), part)
    assert (first.target, first.options) == (ADA, options)
    assert first.profile == batch_profile(part, opt=3, most=3)
    assert first.timing_cache == bench.cache.timing_file(ADA)
    assert second.timing_cache is None


def test_engines_are_built_by_the_real_builder_unless_another_is_given() -> None:
    defaults = {item.name: item.default for item in fields(EngineSource)}
    assert defaults["build"] is build_engine


def test_an_engine_for_any_gpu_of_its_kind_is_taken(bench: Workbench, get: Get) -> None:
    ahead = get(ANY_ADA)
    here = get(ADA, rebuild="never")
    assert (here.data, here.built) == (ahead.data, False)
    other = get(replace(ADA, compute_capability="8.6"))
    assert other.built


def test_an_engine_of_this_very_gpu_comes_before_one_for_any(bench: Workbench, get: Get) -> None:
    mine = get(ADA)
    get(ANY_ADA)
    assert get(ADA).data == mine.data


def test_only_tensorrt_rtx_builds_for_any_gpu(get: Get) -> None:
    anything = replace(ORIN, gpu="any")
    get(anything)
    assert get(ORIN).built


@pytest.mark.parametrize("batch", [1, 2])
def test_another_batch_is_another_engine(batch: int, get: Get, bench: Workbench) -> None:
    get(batch=1)
    assert get(batch=batch).built is (batch == 2)


def test_what_does_not_fit_any_more_is_explained_before_the_build(
    bench: Workbench, get: Get
) -> None:
    get()
    made = get(UPGRADED)
    assert made.built
    assert bench.notes == [
        "engine of tiny/aerial was built by TensorRT 10.3.0 for sm_87 (Orin); expected TensorRT "
        "11.4.0 and sm_89 (Ada); one that fits is built now"
    ]


def test_never_building_is_an_error_with_the_commands_that_mend_it(
    bench: Workbench, get: Get
) -> None:
    path = bench.bundle.path
    mend = (
        f"run `segx infer INPUT --bundle {path} --rebuild auto`, or "
        f"`segx export {path} --engine tensorrt` on this device"
    )
    assert refusal(get, rebuild="never") == (
        f"{bench.cache.root} holds no engine of tiny/aerial for TensorRT 10.3.0 and sm_87 (Orin); "
        f"expected one, since none may be built; {mend}"
    )
    get()
    assert refusal(get, UPGRADED, rebuild="never") == (
        "engine of tiny/aerial was built by TensorRT 10.3.0 for sm_87 (Orin); expected TensorRT "
        f"11.4.0 and sm_89 (Ada); {mend}"
    )
    assert get(rebuild="never").built is False
    assert len(bench.build.requests) == 1


def test_the_engine_that_comes_nearest_is_the_one_explained(bench: Workbench, get: Get) -> None:
    get(replace(ADA, compute_capability="7.5", builder_version="1.0"))
    get(replace(ADA, builder_version="1.0"))
    get(ORIN)
    bench.notes.clear()
    get(ADA)
    assert len(bench.notes) == 1
    assert "built by TensorRT-RTX 1.0; expected TensorRT-RTX 1.7.1; one" in bench.notes[0]


def test_a_bundle_exported_anew_is_told_from_the_one_before(
    bench: Workbench, get: Get, write_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    get()
    bench.bundle = open_bundle(write_bundle(tmp_path / "tiny.segx", tile=32, halo=8))
    assert get().built
    assert bench.notes[0].startswith("engine of tiny/aerial was built from the graph ")


def test_a_machine_of_another_kind_that_shares_the_cache_builds_its_own(
    bench: Workbench, get: Get
) -> None:
    get()
    made = get(replace(ORIN, platform="linux-x86_64"))
    assert made.built
    assert "built on linux-aarch64; expected linux-x86_64" in bench.notes[0]


def damage_engine(bench: Workbench, made: Obtained) -> None:
    path = bench.cache.engines.path / made.record.file
    path.write_bytes(b"X" + path.read_bytes()[1:])


def damage_record(bench: Workbench, made: Obtained) -> None:
    bench.cache.engines.record_path(made.record.key).write_text("{")


def lose_engine(bench: Workbench, made: Obtained) -> None:
    (bench.cache.engines.path / made.record.file).unlink()


@pytest.mark.parametrize("damage", [damage_engine, damage_record, lose_engine])
def test_a_damaged_engine_is_built_again_or_refused(
    bench: Workbench, get: Get, damage: Callable[[Workbench, Obtained], None]
) -> None:
    made = get()
    damage(bench, made)
    message = refusal(get, rebuild="never")
    assert message.startswith(str(bench.cache.engines.path))
    assert message.count(";") == 2, "one remedy, and not that of the file beside it"
    assert "--rebuild auto" in message
    again = get()
    assert again.built
    assert again.data != made.data
    (note,) = bench.notes
    assert note.startswith(str(bench.cache.engines.path))
    assert "; expected " in note
    assert note.endswith("; one that fits is built now"), "what is done, not what could be"
    assert get(rebuild="never").data == again.data


def test_a_cache_that_others_can_write_to_is_refused_unless_trusted(
    bench: Workbench, get: Get
) -> None:
    made = get()
    bench.cache.root.chmod(0o777)
    assert "can be written to by others" in refusal(get)
    assert get(trust_folder=True).data == made.data
    with pytest.raises(EngineError, match="can be written to by others"):
        build_all(bench.bundle, [ORIN], batch=1, source=bench.source())


def test_an_engine_that_cannot_be_kept_is_used_all_the_same(
    bench: Workbench, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes, *, error: type[Exception]) -> None:
        raise error(f"{path} cannot be written; expected room; free some")

    monkeypatch.setattr("runtime.engines.folder.write_bytes", full)
    assert get().built
    assert get().built
    assert len(bench.notes) == 2
    assert bench.notes[0].endswith("free some; until then engines are built in every run")


def test_a_cache_that_cannot_be_made_is_no_obstacle(
    bench: Workbench, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("runtime.engines.cache.make_folder", refuse)
    assert get().built
    assert bench.build.requests[0].timing_cache is None
    assert len(bench.notes) == 1
    assert "Permission denied" in bench.notes[0]


def test_a_build_that_fails_leaves_nothing(bench: Workbench, get: Get) -> None:
    bench.build.error = EngineError("no kernel; expected one; use another GPU")
    assert refusal(get) == "no kernel; expected one; use another GPU"
    assert bench.cache.records() == ()
    bench.build.error = None
    assert get().built


def test_no_room_to_build_in_is_an_error(
    get: Get, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert "cannot be built ([Errno 2]" in refusal(get)


class Foreign:
    """A folder of engines that was filled on another machine."""

    def __init__(self, bench: Workbench, path: Path) -> None:
        self.path = path
        self._bench = bench

    def fill(self, target: Target) -> None:
        build_all(self._bench.bundle, [target], batch=1, source=self._bench.source(), out=self.path)


@pytest.fixture
def foreign(bench: Workbench, tmp_path: Path) -> Foreign:
    """An empty folder from elsewhere."""
    return Foreign(bench, tmp_path / "usb")


def test_engines_from_elsewhere_are_refused_unless_they_are_trusted(
    bench: Workbench, get: Get, foreign: Foreign
) -> None:
    foreign.fill(ORIN)
    get()
    message = refusal(get, folder=foreign.path)
    assert message.startswith(f"{foreign.path} holds engines from elsewhere; expected ")
    assert "--trust-engines" in message


@pytest.mark.parametrize(("built_for", "here"), [(ORIN, ORIN), (ANY_ADA, ADA)])
def test_a_trusted_engine_that_fits_is_taken_before_the_cache(
    built_for: Target, here: Target, bench: Workbench, get: Get, foreign: Foreign
) -> None:
    foreign.fill(built_for)
    mine = get(here)
    taken = get(here, folder=foreign.path, trust_folder=True)
    assert not taken.built
    assert taken.data != mine.data
    assert (foreign.path / taken.record.file).read_bytes() == taken.data
    assert get(here, folder=foreign.path, trust_folder=True, rebuild="never").data == taken.data
    assert bench.notes == []


def test_a_trusted_engine_that_does_not_fit_is_explained_and_passed_over(
    bench: Workbench, get: Get, foreign: Foreign
) -> None:
    foreign.fill(ORIN)
    made = get(UPGRADED, folder=foreign.path, trust_folder=True)
    assert made.built
    assert bench.notes == [
        "engine of tiny/aerial was built by TensorRT 10.3.0 for sm_87 (Orin); expected TensorRT "
        "11.4.0 and sm_89 (Ada); the engine cache is used"
    ]
    again = get(UPGRADED, folder=foreign.path, trust_folder=True, rebuild="never")
    assert again.data == made.data
    message = refusal(get, ADA, folder=foreign.path, trust_folder=True, rebuild="never")
    assert "--rebuild auto" in message


def test_a_trusted_folder_without_the_part_is_said(
    bench: Workbench, get: Get, foreign: Foreign
) -> None:
    foreign.path.mkdir()
    assert get(folder=foreign.path, trust_folder=True).built
    assert bench.notes == [
        f"{foreign.path} holds no engine of tiny/aerial for TensorRT 10.3.0 and sm_87 (Orin); "
        "expected one; the engine cache is used"
    ]


def test_a_trusted_folder_that_is_not_there_is_an_error(get: Get, tmp_path: Path) -> None:
    assert "is no folder" in refusal(get, folder=tmp_path / "nowhere", trust_folder=True)


@pytest.mark.parametrize("rebuild", ["auto", "never"])
@pytest.mark.parametrize("kind", ["*.engine", "*.json"])
def test_a_damaged_engine_from_elsewhere_is_an_error_always(
    get: Get, foreign: Foreign, kind: str, rebuild: str
) -> None:
    foreign.fill(ORIN)
    for path in foreign.path.glob(kind):
        path.write_bytes(b"X" + path.read_bytes()[1:])
    message = refusal(get, folder=foreign.path, trust_folder=True, rebuild=rebuild)
    assert message.startswith(str(foreign.path))


def test_a_link_from_elsewhere_is_an_error(get: Get, foreign: Foreign, tmp_path: Path) -> None:
    foreign.fill(ORIN)
    for path in foreign.path.glob("*.engine"):
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    assert "no link" in refusal(get, folder=foreign.path, trust_folder=True)


def test_a_record_from_elsewhere_cannot_lend_its_key_to_another_engine(
    get: Get, foreign: Foreign
) -> None:
    foreign.fill(ORIN)
    wanted = get()
    other = next(path for path in foreign.path.glob("*.json") if path.stem != wanted.record.key)
    (foreign.path / f"{wanted.record.key}.json").write_bytes(other.read_bytes())
    assert "cannot be used" in refusal(get, folder=foreign.path, trust_folder=True)


def test_a_foreign_record_is_read_as_data_only(get: Get, foreign: Foreign) -> None:
    foreign.fill(ORIN)
    made = get(folder=foreign.path, trust_folder=True)
    path = foreign.path / f"{made.record.key}.json"
    path.write_bytes(record_text(made.record).replace(b"tiny", b"other"))
    assert get(folder=foreign.path, trust_folder=True).record.bundle == "other"
