import copy
import json
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import BundleError
from runtime.manifest import FORMAT_MAJOR, AerialSpec, Normalization, TensorSpec, parse_manifest
from runtime.schema import to_dict

REQUIRED = (
    "format_version",
    "name",
    "created",
    "segx_version",
    "model",
    "precision",
    "parts",
    "aerial",
    "satellite",
    "classes",
    "files",
    "verified",
    "verdict",
)


@pytest.fixture
def data(tiny_bundle: Path) -> dict[str, Any]:
    """The tiny bundle's manifest, to be changed."""
    content: dict[str, Any] = json.loads((tiny_bundle / "manifest.json").read_text())
    return content


def refusal(data: object) -> str:
    with pytest.raises(BundleError) as refused:
        parse_manifest(data, where="m.json")
    return str(refused.value)


def test_a_manifest_survives_writing_and_reading(data: dict[str, Any]) -> None:
    manifest = parse_manifest(data, where="m.json")
    assert parse_manifest(json.loads(json.dumps(to_dict(manifest))), where="again") == manifest


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_key_is_named(data: dict[str, Any], key: str) -> None:
    del data[key]
    message = refusal(data)
    assert message.startswith("m.json")
    assert key in message


def test_an_unknown_key_is_passed_over_at_every_depth(data: dict[str, Any]) -> None:
    expected = parse_manifest(copy.deepcopy(data), where="m.json")
    data["later"] = {"anything": [1]}
    data["parts"][0]["later"] = 1
    data["aerial"]["normalization"]["later"] = None
    assert parse_manifest(data, where="m.json") == expected


def test_a_model_can_do_without_satellite_only_if_it_says_so_and_has_the_part(
    data: dict[str, Any],
) -> None:
    silent = parse_manifest(copy.deepcopy(data), where="m.json")
    assert (silent.single_branch, silent.works_without_satellite) == (False, False)
    data["single_branch"] = True
    assert parse_manifest(copy.deepcopy(data), where="m.json").works_without_satellite
    data["parts"] = [{**data["parts"][2], "inputs": data["parts"][0]["inputs"]}]
    merged = parse_manifest(copy.deepcopy(data), where="m.json")
    assert (merged.single_branch, merged.works_without_satellite) == (True, False)
    data["single_branch"] = "yes"
    assert "single_branch" in refusal(data)


@pytest.mark.parametrize("names", [(), ("classes",), ("classes", "confidence"), ("days",)])
def test_a_part_is_given_when_all_its_outputs_are(
    data: dict[str, Any], names: tuple[str, ...]
) -> None:
    fusion = parse_manifest(data, where="m.json").parts_for("classes")[-1]
    assert fusion.is_given(names) == ({"classes", "confidence"} <= set(names))


@pytest.mark.parametrize("version", ["0.9", "1.0", "1.99"])
def test_this_major_version_and_the_one_before_are_read(data: dict[str, Any], version: str) -> None:
    data["format_version"] = version
    assert parse_manifest(data, where="m.json").format_version == version


@pytest.mark.parametrize("version", ["2.0", "9999.0"])
def test_a_later_major_version_is_refused(data: dict[str, Any], version: str) -> None:
    data["format_version"] = version
    assert refusal(data) == (
        f"m.json has format_version {version}; expected 0.x or 1.x, which this segx reads; "
        "update segx or export the bundle again"
    )


@pytest.mark.parametrize("version", [None, 1, 1.0, "", "1", "one", "\u00b2.0", "1.0.0", "9" * 5000])
def test_a_version_that_is_none_is_refused(data: dict[str, Any], version: object) -> None:
    data["format_version"] = version
    assert "expected MAJOR.MINOR such as '1.2'; export the bundle again" in refusal(data)
    assert FORMAT_MAJOR == 1


def test_a_required_feature_that_is_not_there_is_refused_by_name(data: dict[str, Any]) -> None:
    data["requires"] = ["two-series", "blending"]
    assert refusal(data) == (
        "m.json requires blending, two-series; expected only features that this segx has (none); "
        "update segx or export the bundle with this version"
    )


def test_a_required_feature_is_named_before_keys_that_it_changes(data: dict[str, Any]) -> None:
    data["requires"] = ["half-inputs"]
    data["parts"][0]["inputs"][0]["dtype"] = "float16"
    del data["aerial"]
    assert "half-inputs" in refusal(data)


@pytest.mark.parametrize("content", [None, [], "bundle", 3])
def test_a_manifest_that_is_no_table_is_refused(content: object) -> None:
    assert refusal(content).count(";") == 2


@pytest.mark.parametrize("file", ["../aerial.onnx", "/etc/passwd", "a/b.onnx", "a\\b.onnx", ".."])
def test_a_part_outside_the_bundle_is_refused(data: dict[str, Any], file: str) -> None:
    data["parts"][0]["file"] = file
    data["files"][file] = "0" * 64
    if file != "..":
        assert "expected a plain file name" in refusal(data)


def test_a_part_without_a_hash_is_refused(data: dict[str, Any]) -> None:
    del data["files"]["satellite.onnx"]
    assert "part 'satellite' names satellite.onnx, which has no sha256" in refusal(data)


def test_a_part_that_takes_what_no_part_gives_is_refused(data: dict[str, Any]) -> None:
    data["parts"].reverse()
    message = refusal(data)
    assert "'fusion_probabilities' takes ['aerial_logits', 'satellite_logits']" in message


def test_a_satellite_part_without_a_window_is_refused(data: dict[str, Any]) -> None:
    data["satellite"] = None
    assert "'satellite' takes ['satellite', 'date_mask', 'days']" in refusal(data)


def test_a_fusion_part_needs_a_variant(data: dict[str, Any]) -> None:
    data["parts"][-1]["variant"] = None
    assert "has the variant None" in refusal(data)


def test_a_bundle_without_a_class_map_is_refused(data: dict[str, Any]) -> None:
    data["parts"] = [part for part in data["parts"] if part["variant"] != "classes"]
    assert "no part ends in a class map" in refusal(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"halo": 32}, "a halo of 32 px leaves no interior in 64 px"),
        ({"halo": -1}, "a halo of -1 px"),
        ({"tile_size": 0}, "leaves no interior"),
        ({"stride": 5}, "step by 32 px; expected a multiple of 5 px"),
        ({"stride": 0}, "expected a multiple of 0 px"),
        ({"resolution_m": 0}, "resolution_m is 0.0; expected metres above 0"),
        ({"resolution_m": float("nan")}, "expected metres above 0"),
        ({"bands": ["red"]}, "bands, mean and std differ in length"),
    ],
)
def test_an_aerial_input_that_cannot_be_tiled_is_refused(
    data: dict[str, Any], change: dict[str, object], message: str
) -> None:
    data["aerial"].update(change)
    assert message in refusal(data)


@pytest.mark.parametrize("count", [0, 256])
def test_classes_that_do_not_fit_a_byte_are_refused(data: dict[str, Any], count: int) -> None:
    data["classes"] = data["classes"][:1] * count
    assert "expected 1 to 255" in refusal(data)


def test_the_parts_of_a_variant_keep_their_order(data: dict[str, Any]) -> None:
    manifest = parse_manifest(data, where="m.json")
    names = [part.name for part in manifest.parts_for("probabilities")]
    assert names == ["aerial", "satellite", "fusion_probabilities"]
    assert [part.name for part in manifest.parts_for("classes")][-1] == "fusion"


def test_the_batch_takes_the_place_of_its_letter() -> None:
    spec = TensorSpec(name="aerial", dtype="uint8", shape=("N", 5, 64, 64))
    assert spec.with_batch(3) == (3, 5, 64, 64)


def test_the_stride_of_the_presets_fits_their_tiles() -> None:
    spec = AerialSpec(
        bands=("red",),
        resolution_m=0.2,
        tile_size=512,
        halo=64,
        stride=32,
        halo_exact=False,
        normalization=Normalization(mean=(0.0,), std=(1.0,)),
    )
    assert spec.dtype == "uint8"
