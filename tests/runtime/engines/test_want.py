from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_engines import ADA, ANY_ADA, ORIN, make_record

from runtime.bundle import open_bundle
from runtime.engines.profiles import profile_text
from runtime.engines.record import EngineRecord
from runtime.engines.want import Want


@pytest.fixture
def want(tiny_bundle: Path) -> Want:
    """The engine of the tiny bundle's aerial part, for a GPU."""
    bundle = open_bundle(tiny_bundle)
    return Want(bundle=bundle, part=bundle.manifest.parts[0], target=ADA, batch=2)


def record_like(want: Want, **changes: Any) -> EngineRecord:
    """Record of the engine that is wanted, but for changes."""
    fields = {
        "bundle": want.bundle.manifest.name,
        "part": want.part.name,
        "onnx_sha256": want.onnx_sha256,
        "target": want.target,
        "profile": profile_text(want.profile),
    }
    return make_record(**{**fields, **changes})


def test_the_record_of_what_is_wanted_has_its_key_and_fits(want: Want) -> None:
    record = record_like(want)
    assert want.keys[0] == want.key == record.key
    assert want.unlike(record) == ()


def test_the_key_of_any_gpu_comes_second(want: Want) -> None:
    assert want.keys[1] == record_like(want, target=ANY_ADA).key
    ahead = replace(want, target=ANY_ADA)
    assert ahead.keys == (ahead.key,)


def test_the_record_that_differs_least_is_explained_and_of_those_the_newest(want: Want) -> None:
    far = record_like(want, target=ORIN, created="2026-03-01", profile="far")
    near = [
        record_like(want, target=replace(ADA, builder_version=version), created=created)
        for version, created in (("1", "2026-01-01"), ("2", "2026-02-01"), ("3", "2026-01-03"))
    ]
    for records in ([far, *near], [*near[::-1], far]):
        text = want.unlike_nearest(records, "build it")
        assert text == (
            "engine of tiny/aerial was built by TensorRT-RTX 2; expected TensorRT-RTX 1.7.1; "
            "build it"
        )


def test_engines_of_other_parts_say_nothing(want: Want) -> None:
    other = {"onnx_sha256": "1" * 64, "target": ORIN}
    records = [
        record_like(want, **other, part="fusion"),
        record_like(want, **other, bundle="another"),
    ]
    assert want.unlike_nearest(records, "build it") == ""
    assert want.unlike_nearest([], "build it") == ""


def test_an_engine_of_the_same_graph_in_a_bundle_of_another_name_counts(want: Want) -> None:
    text = want.unlike_nearest([record_like(want, bundle="renamed", target=ORIN)], "build it")
    assert text.startswith("engine of renamed/aerial was built by TensorRT 10.3.0")


def test_an_engine_that_fits_by_now_needs_no_explanation(want: Want) -> None:
    assert want.unlike_nearest([record_like(want)], "build it") == ""
