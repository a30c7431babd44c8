"""Map over and over in one process, from Python: `python -m tools.streaming.looping TASK RESULT`.

A round maps a scene's files and its arrays. Every few rounds the bundle is closed and opened anew;
what the process holds is looked at whenever it is closed, as all that is left then is lost. Rounds
take turns in what they write; those of a kind, two at least, must give the same pixels.
"""

import gc
import json
import os
import sys
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import segx
from runtime.geoseries import open_series
from runtime.jsonfile import write_json
from runtime.scene import SATELLITE_FOLDER, SCENE_AERIAL
from tools.bench_peers.raster import open_raster

from .watching import Sample, look

KINDS = {
    "classes": segx.InferOptions(allow_toy=True),
    "confidence, quality": segx.InferOptions(allow_toy=True, confidence=True, quality=True),
    "blended": segx.InferOptions(allow_toy=True, blend=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round."""

    kind: str
    seconds: float
    maps: int
    """CRC-32 of the pixels of all maps that were written."""
    arrays: int
    """CRC-32 of the classes that the arrays gave."""


def main(task: str, result: str) -> None:
    """Do rounds for as many seconds as the task says, and write what they gave."""
    given = json.loads(Path(task).read_text(encoding="utf-8"))
    scene, maps = Path(given["scene"]), Path(given["maps"])
    arrays = read_arrays(scene)
    names = list(KINDS)
    rounds: list[Round] = []
    closings: list[Sample] = []
    begin = time.perf_counter()
    while len(rounds) < 2 * len(names) or time.perf_counter() - begin < given["seconds"]:
        with segx.open_bundle(
            given["bundle"], backend=given["backend"], threads=given["threads"]
        ) as model:
            for _ in range(given["rounds_per_opening"]):
                kind = names[len(rounds) % len(names)]
                rounds.append(_round(model, kind, scene, maps, arrays))
                if time.perf_counter() - begin >= given["seconds"]:
                    break
        gc.collect()
        held = look(os.getpid(), time.perf_counter() - begin)
        assert held is not None  # this process runs
        closings.append(held)
    write_json(Path(result), {"rounds": rounds, "closings": closings})


def read_arrays(scene: Path) -> dict[str, Any]:
    """Read a scene into what `OpenBundle.predict` takes."""
    with open_raster(scene / SCENE_AERIAL) as opened:
        arrays: dict[str, Any] = {"aerial": opened.read()}
    if (scene / SATELLITE_FOLDER).is_dir():
        series = open_series(scene / SATELLITE_FOLDER)
        pixels = series.read(*(slice(0, side) for side in series.shape))
        arrays["series"] = np.ascontiguousarray(pixels.dn.transpose(2, 3, 0, 1))
        arrays["cover"] = np.ascontiguousarray(pixels.cover.transpose(2, 0, 1))
        arrays["dates"] = series.days
    return arrays


def _round(
    model: segx.OpenBundle, kind: str, scene: Path, maps: Path, arrays: dict[str, Any]
) -> Round:
    begin = time.perf_counter()
    report = model.map(scene, maps, options=KINDS[kind])
    assert report is not None
    checksum = 0
    for path in report.outputs:
        with open_raster(Path(path)) as opened:
            checksum = zlib.crc32(opened.read().data, checksum)
    found = model.predict(**arrays, options=KINDS[kind])
    return Round(
        kind=kind,
        seconds=time.perf_counter() - begin,
        maps=checksum,
        arrays=zlib.crc32(found.classes.data),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
