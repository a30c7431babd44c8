"""A bundle as a STAC item: valid by the published schemas, and true to the bundle."""

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.bundle import open_bundle
from segx.bundles import TOY
from segx.stac import EXTENSIONS, stac_item

pytest.importorskip("jsonschema")
pystac = pytest.importorskip("pystac")

SCHEMAS = Path(__file__).with_name("stac_schemas")
STAND_INS = {"classification/v1.1.0": "classification/v2.0.0"}
"""See the README beside the schemas."""


def uri(name: str) -> str:
    return f"https://stac-extensions.github.io/{name}/schema.json"


@pytest.fixture(scope="module")
def validate() -> Callable[[dict[str, Any]], list[str]]:
    """Function that validates an item with pystac, and gives the schemas that were used."""
    from pystac.validation.stac_validator import JsonSchemaSTACValidator

    validator = JsonSchemaSTACValidator()
    for path in SCHEMAS.glob("*.json"):
        name = path.stem.replace("-", "/")
        validator.schema_cache[uri(name)] = json.loads(path.read_text(encoding="utf-8"))
    for missing, given in STAND_INS.items():
        validator.schema_cache[uri(missing)] = validator.schema_cache[uri(given)]

    def check(item: dict[str, Any]) -> list[str]:
        found: list[str] = validator.validate(
            item, pystac.STACObjectType.ITEM, item["stac_version"], item["stac_extensions"]
        )
        return found

    return check


def item_of(bundle: Path, target: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(stac_item(open_bundle(bundle), target)))
    return found


@pytest.fixture(scope="module", params=["toy", "both", "alone", "9 odd name!"])
def bundle(
    request: pytest.FixtureRequest,
    write_bundle: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    if request.param == "toy":
        return TOY
    folder = tmp_path_factory.mktemp("stac") / f"{request.param}.segx"
    return write_bundle(folder, satellite=request.param == "both")


def test_the_item_is_valid_and_pystac_reads_it(
    bundle: Path, validate: Callable[[dict[str, Any]], list[str]], tmp_path: Path
) -> None:
    item = item_of(bundle, tmp_path / "item.json")
    used = validate(item)
    assert set(EXTENSIONS) <= set(used)
    assert len(used) == len(EXTENSIONS) + 1, "and STAC itself"
    read = pystac.Item.from_dict(item)
    assert read.to_dict(include_self_link=False)["properties"] == item["properties"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda item: item["properties"].pop("mlm:input"),
        lambda item: item["properties"]["mlm:input"][0].pop("bands"),
        lambda item: item["properties"]["mlm:input"][0]["input"].pop("shape"),
        lambda item: item["properties"].update({"mlm:tasks": ["mapping"]}),
        lambda item: [asset.pop("mlm:artifact_type", None) for asset in item["assets"].values()],
        lambda item: item["properties"]["mlm:output"][0]["classification:classes"][0].pop("name"),
        lambda item: item["assets"]["aerial"].update({"file:size": "large"}),
        lambda item: item.pop("bbox"),
    ],
)
def test_what_is_spoilt_is_not_valid(
    spoil: Callable[[dict[str, Any]], object],
    tiny_bundle: Path,
    validate: Callable[[dict[str, Any]], list[str]],
    tmp_path: Path,
) -> None:
    item = item_of(tiny_bundle, tmp_path / "item.json")
    validate(item)
    spoilt = copy.deepcopy(item)
    spoil(spoilt)
    with pytest.raises(pystac.errors.STACValidationError):
        validate(spoilt)


def test_the_item_says_what_the_bundle_holds(bundle: Path, tmp_path: Path) -> None:
    opened = open_bundle(bundle)
    manifest = opened.manifest
    item = item_of(bundle, tmp_path / "deep" / "item.json")
    properties = item["properties"]
    inputs = {given["name"]: given for given in properties["mlm:input"]}
    assert inputs["aerial"]["bands"] == list(manifest.aerial.bands)
    size = manifest.aerial.tile_size
    assert inputs["aerial"]["input"]["shape"] == [-1, len(manifest.aerial.bands), size, size]
    assert ("satellite" in inputs) == (manifest.satellite is not None)
    assert {output["name"] for output in properties["mlm:output"]} == {"classes", "confidence"}
    for given in (*inputs.values(), *properties["mlm:output"]):
        structure = given.get("input") or given["result"]
        assert len(structure["shape"]) == len(structure["dim_order"])
    classes = properties["mlm:output"][0]["classification:classes"]
    assert [item["description"] for item in classes] == [item.name for item in manifest.classes]
    assert [f"#{item['color_hint'].lower()}" for item in classes] == [
        item.color.lower() for item in manifest.classes
    ]
    named = {band["name"] for band in properties["bands"]}
    assert {band for given in inputs.values() for band in given["bands"]} <= named
    models = [asset for asset in item["assets"].values() if "mlm:model" in asset["roles"]]
    assert len(models) == len(manifest.parts)
    for asset in item["assets"].values():
        content = (tmp_path / "deep" / asset["href"]).resolve().read_bytes()
        assert asset["file:size"] == len(content)
        assert asset["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()


def test_inspect_writes_it(
    segx: Callable[..., Any],
    tiny_bundle: Path,
    validate: Callable[[dict[str, Any]], list[str]],
    tmp_path: Path,
) -> None:
    result = segx("inspect", tiny_bundle, "--stac", "item.json", "--json", "manifest.json")
    assert result.code == 0
    lines = result.out.splitlines()[-2:]
    assert lines[0] == "wrote manifest.json"
    assert lines[1].startswith("wrote item.json; next: segx infer")
    validate(json.loads((tmp_path / "item.json").read_text()))
    assert (tmp_path / "manifest.json").is_file()
