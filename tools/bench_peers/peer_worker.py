"""One run of a peer in its own environment: `python -I peer_worker.py TASK.json RESULT.json`.

Nothing of this repository is imported here. Every tool goes through the same steps: import, open
the ONNX file, map the raster, write a GeoTIFF. What each is given is the best it takes: the graph
wants float32 of 0..1, and normalises inside, so that none pays for that in NumPy.
"""

import functools
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

BEGAN = time.time()
WHITE = 255.0

Task = Mapping[str, Any]
"""What to run: model, raster, map, tile, bands, classes, threads, overlap, mode, blur."""

Steps = Iterator[str]
"""Yields the name of each step when it is done."""


def monai(task: Task, count: list[int]) -> Steps:
    """`sliding_window_inference` over the whole raster in memory, as its documentation has it."""
    numpy, rasterio, ort = map(importlib.import_module, ("numpy", "rasterio", "onnxruntime"))
    torch = importlib.import_module("torch")
    sliding_window_inference = importlib.import_module("monai.inferers").sliding_window_inference
    torch.set_num_threads(task["threads"])
    yield "imports"
    session = _session(ort, task, count)
    yield "opening"

    def predict(tiles: Any) -> Any:
        return torch.from_numpy(session.run(None, {"image": tiles.contiguous().numpy()})[0])

    with rasterio.open(task["raster"]) as source:
        image = torch.from_numpy(source.read().astype(numpy.float32) / numpy.float32(WHITE))
    options = {"overlap": task["overlap"], "mode": task["mode"]}
    chosen = {name: value for name, value in options.items() if value is not None}
    side = (task["tile"], task["tile"])
    logits = sliding_window_inference(image[None], side, 1, predict, **chosen)
    _write(rasterio, task, logits[0].argmax(0).numpy().astype(numpy.uint8))
    yield "work"


def conflux(task: Task, count: list[int]) -> Steps:
    """`Segmenter.from_onnx` over the whole raster in memory; its own transform divides by 255."""
    numpy, rasterio, ort = map(importlib.import_module, ("numpy", "rasterio", "onnxruntime"))
    segmenter = importlib.import_module("conflux_segmentation").Segmenter
    yield "imports"
    session = _session(ort, task, count)
    yield "opening"
    options = {} if task["overlap"] is None else {"overlap": task["overlap"]}
    segment = segmenter.from_onnx(
        session, num_classes=task["classes"], tile_size=task["tile"], **options
    )
    with rasterio.open(task["raster"]) as source:
        image = numpy.moveaxis(source.read(), 0, -1)
    _write(rasterio, task, segment(image).to_multiclass().get_mask().astype(numpy.uint8))
    yield "work"


def habitat(task: Task, count: list[int]) -> Steps:
    """`ONNXModel.process` from file to file; its overlap is fixed at one half."""
    ort: Any = importlib.import_module("onnxruntime")
    # It loads CUDA's libraries when it is imported, and names neither threads nor options.
    ort.preload_dlls = lambda *_args, **_kwargs: None
    ort.InferenceSession = functools.partial(_habitat_session, ort, ort.InferenceSession, task)
    found = importlib.import_module("habitat_mapper")
    importlib.import_module("cv2").setNumThreads(task["threads"])
    yield "imports"
    model = Path(task["model"])
    config = found.ModelConfig(
        name="bench",
        revision="20260101",
        dependencies=[str(model)],
        model_filename=model.name,
        input_channels=task["bands"],
        activation=None,
        normalization=None,
    )
    network = found.ONNXModel(config)
    session = _Counted(network._ort_sess, count)
    network._ONNXModel__ort_sess = session
    yield "opening"
    options = {} if task["blur"] is None else {"blur_kernel_size": task["blur"]}
    network.process(task["raster"], task["map"], quiet=True, **options)
    yield "work"


TOOLS: dict[str, Callable[[Task, list[int]], Steps]] = {
    "monai": monai,
    "conflux-segmentation": conflux,
    "habitat-mapper": habitat,
}


class _Counted:
    """A session that counts the tiles that it is given."""

    def __init__(self, session: Any, count: list[int]) -> None:
        self._session = session
        self._count = count

    def run(self, output_names: Any, input_feed: Mapping[str, Any]) -> Any:
        self._count[0] += sum(array.shape[0] for array in input_feed.values())
        return self._session.run(output_names, input_feed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def _session(ort: Any, task: Task, count: list[int]) -> _Counted:
    options = ort.SessionOptions()
    options.intra_op_num_threads = task["threads"]
    providers = ["CPUExecutionProvider"]
    return _Counted(ort.InferenceSession(task["model"], options, providers=providers), count)


def _habitat_session(ort: Any, real: Any, task: Task, path: str, **_options: Any) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = task["threads"]
    return real(path, options, providers=["CPUExecutionProvider"])


def _write(rasterio: Any, task: Task, classes: Any) -> None:
    with rasterio.open(task["raster"]) as source:
        place = {"crs": source.crs, "transform": source.transform}
    profile = {
        "driver": "GTiff",
        "count": 1,
        "height": classes.shape[0],
        "width": classes.shape[1],
        "dtype": "uint8",
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "num_threads": task["threads"],
        **place,
    }
    with rasterio.open(task["map"], "w", **profile) as target:
        target.write(classes, 1)


def main(task_path: str, result_path: str) -> None:
    """Run a tool, and write how long each of its steps took."""
    task = json.loads(Path(task_path).read_text(encoding="utf-8"))
    count = [0]
    seconds: dict[str, float] = {}
    before = time.perf_counter()
    for step in TOOLS[task["tool"]](task, count):
        now = time.perf_counter()
        seconds[step] = now - before
        before = now
    names = ("onnxruntime", "numpy", "rasterio", task["tool"])
    found = {
        "began": BEGAN,
        "imports_s": seconds["imports"],
        "opening_s": seconds["opening"],
        "work_s": seconds["opening"] + seconds["work"],
        "tiles": count[0],
        "versions": {name: version(name) for name in names},
    }
    Path(result_path).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
