import json
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from fake_engines import ADA, ORIN, make_record
from hypothesis import given
from hypothesis import strategies as st

from runtime.engines.inspector import parse_inspector
from runtime.engines.options import BuildOptions
from runtime.engines.record import EngineRecord, engine_key, read_record, record_text
from runtime.engines.target import Target
from runtime.errors import EngineError

LAYERS = '{"Layers": ["a", "b"], "Bindings": ["aerial"]}'

OTHER = {
    "builder": "tensorrt-rtx",
    "builder_version": "10.3.1",
    "compute_capability": "8.6",
    "gpu": "Orin NX",
    "onnx_sha256": "1" * 64,
    "profile": "aerial 1..8x5x512x512",
}
"""Another value for every component of the key."""


def changed(name: str, value: Any) -> EngineRecord:
    if name in {item.name for item in fields(Target)}:
        return make_record(target=replace(ORIN, **{name: value}))
    return make_record(**{name: value})


def write(folder: Path, record: EngineRecord) -> Path:
    path = folder / f"{record.key}.json"
    path.write_bytes(record_text(record))
    return path


@pytest.mark.parametrize("name", OTHER)
def test_another_value_of_any_component_is_another_key(name: str) -> None:
    assert changed(name, OTHER[name]).key != make_record().key


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("platform", "windows-amd64"),
        ("segx_version", "9.9.9"),
        ("bundle", "renamed"),
        ("bundle_sha256", "2" * 64),
        ("part", "aerial_2"),
        ("precision", "int8"),
        ("created", "2030-01-01T00:00:00+00:00"),
        ("build_seconds", 99.0),
        ("options", BuildOptions(workspace_mib=1, optimization_level=5)),
        ("notes", ("slow",)),
    ],
)
def test_nothing_else_changes_the_key(name: str, value: Any) -> None:
    assert changed(name, value) != make_record()
    assert changed(name, value).key == make_record().key


def test_every_field_of_a_record_is_known_to_be_in_the_key_or_not() -> None:
    outside = {"platform", "segx_version", "bundle", "bundle_sha256", "part", "precision"}
    outside |= {"created", "build_seconds", "options", "notes", "summary", "format"}
    outside |= {"file", "engine_sha256", "size_bytes"}  # of the engine that the key leads to
    names = {item.name for item in (*fields(EngineRecord), *fields(Target))} - {"target"}
    assert names == outside | set(OTHER)


def test_the_key_stays_what_it_is_from_version_to_version() -> None:
    assert engine_key("1" * 64, ORIN, "aerial") == (
        "bc17dbb30d4a6e4d5f2385553bf102b3227d4ec51b8c36f532d521653967fb35"
    )


TEXTS = st.tuples(*[st.text(max_size=6)] * 5)


@given(TEXTS, TEXTS)
def test_keys_are_equal_only_where_every_component_is(
    one: tuple[str, ...], other: tuple[str, ...]
) -> None:
    keys = {
        engine_key(
            graph,
            replace(ADA, builder_version=version, compute_capability=capability, gpu=gpu),
            profile,
        )
        for graph, version, capability, gpu, profile in (one, other)
    }
    assert len(keys) == len({one, other})


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = make_record(
        notes=("half the workspace",),
        options=BuildOptions(optimization_level=3),
        summary=parse_inspector(LAYERS),
    )
    assert read_record(write(tmp_path, record)) == record
    assert read_record(tmp_path / f"{'0' * 64}.json") is None


def test_keys_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, make_record())
    path.write_text(json.dumps({**json.loads(path.read_text()), "later": 1}))
    assert read_record(path) == make_record()


def edited(**keys: Any) -> bytes:
    return json.dumps({**json.loads(record_text(make_record())), **keys}).encode()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "Expecting value"),
        (record_text(make_record())[:-9], "Expecting"),
        (b"{\x80", "can't decode"),
        (b"[" * 100_000, "recursion"),
        (b"[]", "expected a table"),
        (b"{}", "lacks the key 'segx_version'"),
        (edited(format=2), "format 2 in place of 1"),
        (edited(size_bytes="6"), "expected int"),
        (edited(engine_sha256="../../../x" + "0" * 54), "in place of a sha256"),
        (edited(file="other.engine"), "the file 'other.engine' in place of"),
        (edited(file="../x.engine"), "the file '../x.engine' in place of"),
        (edited(bundle="red \x1b[31m"), "text that cannot be printed"),
        (edited(part="two\nlines"), "text that cannot be printed"),
        (b" " * (4 << 20) + record_text(make_record()), "bytes"),
    ],
)
def test_a_damaged_record_is_refused_in_one_line(
    tmp_path: Path, content: bytes, found: str
) -> None:
    path = tmp_path / f"{make_record().key}.json"
    path.write_bytes(content)
    with pytest.raises(EngineError) as refused:
        read_record(path)
    message = str(refused.value)
    assert found in message
    assert str(path) in message
    assert message.count(";") >= 2
    assert message.isprintable()


def test_a_record_of_another_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / f"{'0' * 64}.json"
    path.write_bytes(record_text(make_record()))
    with pytest.raises(EngineError, match=r"that of lf-dlm-fp16/aerial with the key"):
        read_record(path)


def test_a_link_is_refused_even_to_the_right_content(tmp_path: Path) -> None:
    path = write(tmp_path, make_record())
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineError, match="and no link"):
        read_record(path)


def test_a_folder_or_a_pipe_in_place_of_a_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / f"{'0' * 64}.json"
    path.mkdir()
    with pytest.raises(EngineError, match="expected a plain file"):
        read_record(path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(EngineError, match="no plain file"):
        read_record(path)
