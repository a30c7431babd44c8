import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_engines import ADA, ANY_ADA, GRAPH, ORIN, make_record

from runtime.engines.preflight import Mismatch, compare, explain, verify_file
from runtime.engines.record import EngineRecord
from runtime.engines.target import Target
from runtime.errors import EngineError

PROFILE = make_record().profile


def mismatches(record: EngineRecord, **needed: Any) -> tuple[Mismatch, ...]:
    return compare(record, **{"onnx_sha256": GRAPH, "target": ORIN, "profile": PROFILE, **needed})


def test_an_engine_fits_where_everything_is_the_same() -> None:
    assert mismatches(make_record()) == ()


@pytest.mark.parametrize(
    ("needed", "what", "found", "expected"),
    [
        ({"onnx_sha256": "f" * 64}, "graph", GRAPH[:12], "f" * 12),
        (
            {"target": replace(ORIN, builder="tensorrt-rtx")},
            "builder",
            "TensorRT 10.3.0",
            "TensorRT-RTX 10.3.0",
        ),
        (
            {"target": replace(ORIN, builder_version="11.4.0")},
            "builder",
            "TensorRT 10.3.0",
            "TensorRT 11.4.0",
        ),
        (
            {"target": replace(ORIN, platform="linux-x86_64")},
            "platform",
            "linux-aarch64",
            "linux-x86_64",
        ),
        (
            {"target": replace(ORIN, compute_capability="8.9")},
            "device",
            "sm_87 (Orin)",
            "sm_89 (Orin)",
        ),
        ({"target": replace(ORIN, gpu="Thor")}, "device", "sm_87 (Orin)", "sm_87 (Thor)"),
        ({"profile": "aerial 1..8"}, "shapes", PROFILE, "aerial 1..8"),
    ],
)
def test_what_differs_is_named_with_both_sides(
    needed: dict[str, Any], what: str, found: str, expected: str
) -> None:
    record = make_record()
    (mismatch,) = mismatches(record, **needed)
    assert mismatch.what == what
    assert found in mismatch.found
    assert expected in mismatch.needed
    message = explain(record, (mismatch,), "build it again")
    assert f"{mismatch.found}; expected {mismatch.needed}; build it again" in message


def test_graphs_that_begin_alike_are_told_apart() -> None:
    assert mismatches(make_record(), onnx_sha256=GRAPH[:-1] + "?")


def test_all_mismatches_stand_in_one_line() -> None:
    here = replace(ADA, builder="tensorrt", builder_version="11.4.0", platform="linux-aarch64")
    record = make_record()
    assert explain(record, mismatches(record, target=here), "run `segx`") == (
        "engine of lf-dlm-fp16/aerial was built by TensorRT 10.3.0 for sm_87 (Orin); expected "
        "TensorRT 11.4.0 and sm_89 (NVIDIA RTX 4000 Ada); run `segx`"
    )
    everything = mismatches(record, target=ADA, profile="aerial 1..8", onnx_sha256="f" * 64)
    assert [item.what for item in everything] == [
        "graph",
        "builder",
        "platform",
        "device",
        "shapes",
    ]
    assert " for sm_87 (Orin) with aerial 1..1x5x512x512; expected the graph ffff" in explain(
        record, everything, ""
    )


@pytest.mark.parametrize(
    ("built", "here", "fits"),
    [
        (ANY_ADA, ADA, True),
        (ANY_ADA, ANY_ADA, True),
        (ADA, ADA, True),
        (ANY_ADA, replace(ADA, compute_capability="8.6"), False),
        (ADA, ANY_ADA, False),
        (replace(ANY_ADA, builder="tensorrt"), replace(ADA, builder="tensorrt"), False),
    ],
)
def test_only_ahead_of_time_engines_fit_every_gpu_of_a_compute_capability(
    built: Target, here: Target, fits: bool
) -> None:
    assert (mismatches(make_record(target=built), target=here) == ()) is fits


def test_shapes_of_several_inputs_stay_in_their_part_of_the_message() -> None:
    record = make_record(profile="a 1x2,1x2,1x2; b 1,1,1")
    differ = mismatches(record, profile="a 1x2,2x2,2x2; b 1,2,2")
    assert explain(record, differ, "remedy").split("; ") == [
        "engine of lf-dlm-fp16/aerial was built with a 1x2,1x2,1x2 and b 1,1,1",
        "expected a 1x2,2x2,2x2 and b 1,2,2",
        "remedy",
    ]


def test_any_gpu_is_said_in_words() -> None:
    record = make_record(target=ANY_ADA)
    (mismatch,) = mismatches(record, target=replace(ADA, compute_capability="12.0", gpu="B"))
    assert (mismatch.found, mismatch.needed) == ("sm_89 (any GPU)", "sm_120 (B)")


DATA = b"an engine"


@pytest.fixture
def stored(tmp_path: Path) -> tuple[EngineRecord, Path]:
    """A record, and the file that it names."""
    record = make_record(DATA)
    (tmp_path / record.file).write_bytes(DATA)
    return record, tmp_path / record.file


def refusal(record: EngineRecord, path: Path) -> str:
    with pytest.raises(EngineError) as refused:
        verify_file(record, path.parent)
    message = str(refused.value)
    assert message.startswith(str(path))
    assert message.count(";") >= 2
    return message


def test_the_bytes_that_were_checked_are_given(
    stored: tuple[EngineRecord, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    record, path = stored
    opened: list[Path] = []
    real = os.open

    def spy(name: Path, flags: int, *more: int) -> int:
        opened.append(name)
        return real(name, flags, *more)

    monkeypatch.setattr("os.open", spy)
    assert verify_file(record, path.parent) == DATA
    assert opened == [path]


@pytest.mark.parametrize("content", [b"an enginf", b"an engin", b""])
def test_a_changed_engine_is_refused(stored: tuple[EngineRecord, Path], content: bytes) -> None:
    record, path = stored
    path.write_bytes(content)
    message = refusal(record, path)
    assert f"expected {record.engine_sha256[:12]}..." in message


def test_an_engine_that_grew_is_not_even_read(stored: tuple[EngineRecord, Path]) -> None:
    record, path = stored
    path.write_bytes(DATA + b"x")
    assert "cannot be read (10 bytes); expected a plain file of at most 9" in refusal(record, path)


def test_a_missing_engine_is_named(stored: tuple[EngineRecord, Path]) -> None:
    record, path = stored
    path.unlink()
    assert "is missing" in refusal(record, path)


def test_a_link_is_refused_even_to_the_right_engine(stored: tuple[EngineRecord, Path]) -> None:
    record, path = stored
    shutil.move(path, path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    assert "and no link" in refusal(record, path)


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="links are told by name alone here")
def test_a_link_that_is_put_there_at_the_last_moment_is_not_followed(
    stored: tuple[EngineRecord, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    record, path = stored
    shutil.move(path, path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    monkeypatch.setattr(Path, "is_symlink", lambda path: False)
    assert "and no link" in refusal(record, path)


def test_a_link_is_refused_where_the_system_follows_them(
    stored: tuple[EngineRecord, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    record, path = stored
    shutil.move(path, path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    monkeypatch.delattr(os, "O_NOFOLLOW", raising=False)
    assert "and no link" in refusal(record, path)


def test_a_folder_in_place_of_an_engine_is_refused(stored: tuple[EngineRecord, Path]) -> None:
    record, path = stored
    path.unlink()
    path.mkdir()
    assert "cannot be read" in refusal(record, path)
