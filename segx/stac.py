"""Describe a bundle as a STAC item with the extension for machine learning models (MLM).

A model lies nowhere: the item covers the globe, and holds from the time that the bundle was made
on. Inputs are described as the graphs take them: normalisation is inside, so `value_scaling` is
null and its numbers are hyperparameters, with what MLM has no field for (halo, stride, dates).

Reference: STAC 1.1, https://github.com/radiantearth/stac-spec; MLM 1.4,
https://github.com/stac-extensions/mlm.
"""

import os
import re
from pathlib import Path
from typing import Any

from runtime.bundle import Bundle
from runtime.manifest import Manifest, PartSpec, TensorSpec
from runtime.schema import to_dict

_HOME = "https://stac-extensions.github.io"
EXTENSIONS = (f"{_HOME}/mlm/v1.4.0/schema.json", f"{_HOME}/file/v2.1.0/schema.json")
TASK = "semantic-segmentation"
NO_END = "9999-12-31T23:59:59Z"
GLOBE = (-180.0, -90.0, 180.0, 90.0)
_SHA256 = "1220"
"""What a multihash begins with: SHA-256, 32 bytes."""
_DIMENSIONS = {
    "aerial": ("batch", "channel", "height", "width"),
    "satellite": ("batch", "time", "channel", "height", "width"),
    "date_mask": ("batch", "time"),
    "days": ("batch", "time"),
    "classes": ("batch", "height", "width"),
    "confidence": ("batch", "height", "width"),
}
_TOLD = {
    "aerial": "As stored; the graph normalises it.",
    "satellite": "Surface reflectance, monthly means of the usable dates, January to December.",
    "date_mask": "1 where a month holds a date, else 0.",
    "days": "Days from the reference day to the middle of each month.",
    "classes": "Index of the class of each pixel.",
    "confidence": "Probability of that class, 0 to 254.",
}


def stac_item(bundle: Bundle, target: Path) -> dict[str, Any]:
    """Describe a bundle.

    Args:
        bundle: The bundle.
        target: The file that the item is written to; links are relative to it.
    """
    manifest = bundle.manifest
    west, south, east, north = GLOBE
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(EXTENSIONS),
        "id": manifest.name,
        "bbox": list(GLOBE),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": _properties(manifest),
        "links": [],
        "assets": _assets(bundle, target),
    }


def _properties(manifest: Manifest) -> dict[str, Any]:
    made = re.sub(r"\+00:00$", "Z", manifest.created)
    inputs, outputs = _tensors(manifest)
    return {
        "description": f"{manifest.verdict} {_licences(manifest)}".strip(),
        "datetime": None,
        "start_datetime": made,
        "end_datetime": NO_END,
        "created": made,
        "bands": [band for spec in inputs for band in _bands(spec, manifest)],
        "mlm:name": _name(manifest.name),
        "mlm:architecture": manifest.model.config,
        "mlm:tasks": [TASK],
        "mlm:framework": "ONNX",
        "mlm:total_parameters": manifest.model.parameters,
        **_pretrained(manifest),
        "mlm:batch_size_suggestion": 1,
        "mlm:accelerator": None,
        "mlm:accelerator_constrained": False,
        "mlm:input": [_input(spec, manifest) for spec in inputs],
        "mlm:output": [_output(spec, manifest) for spec in outputs],
        "mlm:hyperparameters": _hyperparameters(manifest),
    }


def _pretrained(manifest: Manifest) -> dict[str, Any]:
    """Whether the weights were trained; random ones come from nowhere."""
    if manifest.model.steps or manifest.model.imported:
        return {"mlm:pretrained": True}
    return {"mlm:pretrained": False, "mlm:pretrained_source": None}


def _tensors(manifest: Manifest) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """What goes into the parts from outside, and what the last one gives."""
    taken: dict[str, TensorSpec] = {}
    made: set[str] = set()
    parts = manifest.parts_for("classes")
    for part in parts:
        taken.update({spec.name: spec for spec in part.inputs if spec.name not in made})
        made.update(spec.name for spec in part.outputs)
    return list(taken.values()), list(parts[-1].outputs)


def _input(spec: TensorSpec, manifest: Manifest) -> dict[str, Any]:
    return {
        "name": spec.name,
        "description": _TOLD[spec.name],
        "bands": [band["name"] for band in _bands(spec, manifest)],
        "input": _structure(spec),
        "value_scaling": None,
        "resize_type": None,
        "pre_processing_function": _PREPARED if spec.name == "satellite" else None,
    }


def _bands(spec: TensorSpec, manifest: Manifest) -> list[dict[str, Any]]:
    """Bands of an input, with the size of their pixels in metres; none for masks and days."""
    names: tuple[str, ...] = ()
    side = manifest.aerial.resolution_m
    if spec.name == "aerial":
        names = manifest.aerial.bands
    elif spec.name == "satellite" and manifest.satellite is not None:
        names, side = manifest.satellite.bands, manifest.satellite.cell_m
    return [{"name": name, "gsd": side} for name in names]


_PREPARED = {"format": "python", "expression": "runtime.satellite:SatelliteSpec.prepare"}


def _output(spec: TensorSpec, manifest: Manifest) -> dict[str, Any]:
    classes = [
        {
            "value": value,
            "name": re.sub(r"[^0-9A-Za-z_-]+", "_", item.name),
            "description": item.name,
            "color_hint": item.color.lstrip("#").upper(),
        }
        for value, item in enumerate(manifest.classes)
    ]
    return {
        "name": spec.name,
        "description": _TOLD[spec.name],
        "tasks": [TASK],
        "result": _structure(spec),
        "classification:classes": classes if spec.name == "classes" else [],
        "post_processing_function": None,
    }


def _structure(spec: TensorSpec) -> dict[str, Any]:
    return {
        "shape": [size if isinstance(size, int) else -1 for size in spec.shape],
        "dim_order": list(_DIMENSIONS[spec.name]),
        "data_type": spec.dtype,
    }


def _hyperparameters(manifest: Manifest) -> dict[str, Any]:
    aerial = to_dict(manifest.aerial)
    told = {
        "precision": manifest.precision,
        "steps": manifest.model.steps,
        "verified": manifest.verified,
        **{key: aerial[key] for key in ("resolution_m", "tile_size", "halo", "stride")},
        "halo_exact": manifest.aerial.halo_exact,
        "normalization": aerial["normalization"],
    }
    if manifest.satellite is not None:
        told["satellite"] = to_dict(manifest.satellite)
    if manifest.accuracy is not None:
        told["accuracy"] = to_dict(manifest.accuracy)
    return told


def _assets(bundle: Bundle, target: Path) -> dict[str, Any]:
    manifest = bundle.manifest
    assets = {part.name: _model_asset(part, bundle, target) for part in manifest.parts}
    for name in sorted(manifest.files):
        if not name.endswith(".onnx"):
            title = {"title": name, "roles": ["metadata"]}
            assets[Path(name).stem] = _file(bundle, name, target) | title
    return assets


def _model_asset(part: PartSpec, bundle: Bundle, target: Path) -> dict[str, Any]:
    asset = _file(bundle, part.file, target) | {
        "title": f"{part.name}: {part.role}, {part.precision}",
        "type": "application/octet-stream; application=onnx",
        "roles": ["mlm:model"],
        "mlm:artifact_type": "onnx",
    }
    bands = [band for spec in part.inputs for band in _bands(spec, bundle.manifest)]
    return asset | ({"bands": bands} if bands else {})


def _file(bundle: Bundle, name: str, target: Path) -> dict[str, Any]:
    path = bundle.path / name
    return {
        "href": _link(path, target),
        "file:size": path.stat().st_size,
        "file:checksum": _SHA256 + bundle.manifest.files[name],
    }


def _link(path: Path, target: Path) -> str:
    """Path from the item to a file; the whole path on another drive."""
    try:
        relative = os.path.relpath(path.absolute(), target.absolute().parent)
    except ValueError:
        return path.absolute().as_uri()
    return Path(relative).as_posix()


def _name(text: str) -> str:
    """Make a name as MLM wants it: a letter first, a letter or number last."""
    name = re.sub(r"[^a-zA-Z0-9_.-]+", "-", text).strip("_.-")
    return name if re.match(r"[a-zA-Z].", name) else f"segx-{name or 'model'}"


def _licences(manifest: Manifest) -> str:
    return " ".join(f"Licence of {what}: {text}." for what, text in manifest.licences.items())
