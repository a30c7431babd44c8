"""Closed sets of option values, as the command line wants them."""

from enum import Enum


class BackendName(str, Enum):
    """Libraries that run a bundle; `auto` takes the first that is installed."""

    auto = "auto"
    openvino = "openvino"
    onnxruntime = "onnxruntime"
