"""What an engine is built by and for."""

import platform
from dataclasses import dataclass
from typing import Literal

EngineBuilder = Literal["tensorrt", "tensorrt-rtx"]
"""Libraries that build and run engines. TensorRT is for data-centre, desktop and Jetson GPUs,
TensorRT-RTX for desktop GPUs; TensorRT-RTX builds for GPUs that are not there."""

MODULES: dict[EngineBuilder, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
"""Python module of each."""

ANY_GPU = "any"
"""In place of a GPU's name: an engine that was built ahead of time, for a compute capability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Builder and device of an engine; an engine runs where all of it is the same."""

    builder: EngineBuilder
    builder_version: str
    """Such as `10.3.0`: engines of another version are not read."""
    compute_capability: str
    """Major and minor, such as `8.6`."""
    gpu: str
    """Name that the driver gives, or `any`."""
    platform: str
    """System and processor, such as `linux-x86_64`."""

    @property
    def sm(self) -> str:
        """The compute capability as TensorRT writes it, such as `sm_86`."""
        return "sm_" + self.compute_capability.replace(".", "")


def here_platform() -> str:
    """Name this machine's system and processor."""
    return f"{platform.system()}-{platform.machine()}".lower()
