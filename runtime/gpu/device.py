"""The GPU: what it is, and its context, made current for as long as something is asked of it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import DeviceError
from .driver import CudaOption, Driver, open_driver

_MIB = 1 << 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """What the driver says of a GPU."""

    name: str
    compute_capability: str
    """Major and minor, such as `8.6`."""
    memory_mib: int
    """In all."""
    free_mib: int
    """When it was asked for."""
    driver: str
    """Newest CUDA that the driver can run, such as `13.0`."""
    integrated: bool
    """Whether it shares the processor's memory, as a Jetson's does."""


class Device:
    """A GPU and its primary context, which every library of the process shares."""

    def __init__(self, driver: Driver, ordinal: int = 0) -> None:
        """Take hold of the primary context.

        Raises:
            DeviceError: If the driver reports an error; nothing is held then.
        """
        self.driver = driver
        self._ordinal = ordinal
        self._context = driver.retain(ordinal)
        self._held = True
        try:
            self.info = self._ask()
        except BaseException:
            self.abandon()
            raise

    def _ask(self) -> DeviceInfo:
        driver, ordinal = self.driver, self._ordinal
        with self.current():
            free, total = driver.memory()
        return DeviceInfo(
            name=driver.device_name(ordinal),
            compute_capability="{}.{}".format(*driver.compute_capability(ordinal)),
            memory_mib=total // _MIB,
            free_mib=free // _MIB,
            driver="{}.{}".format(*driver.cuda_version()),
            integrated=driver.is_integrated(ordinal),
        )

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context current in this thread, and afterwards the one that was so before."""
        self.driver.push(self._context)
        try:
            yield
        finally:
            self.driver.pop()

    def close(self) -> None:
        """Let go of the context, once.

        Raises:
            DeviceError: If the driver reports an error.
        """
        if self._held:
            self.driver.release(self._ordinal, self._context)
            self._held = False

    def abandon(self) -> None:
        """Let go of the context after an error that a further one is not to hide."""
        try:
            self.close()
        except DeviceError as error:
            _log.warning("while cleaning up: %s", error)


def find_device(option: CudaOption = "auto", ordinal: int = 0) -> Device:
    """Open a GPU; close it when done.

    Args:
        option: Package that brings the driver to Python.
        ordinal: Number of the GPU; CUDA_VISIBLE_DEVICES decides which are counted.

    Raises:
        BackendError: If the package is missing.
        DeviceError: If there is no driver, or no such GPU.
    """
    driver = open_driver(option)
    count = driver.device_count()
    if ordinal >= count:
        raise DeviceError(
            f"{count} NVIDIA GPUs found; expected at least {ordinal + 1}; check that the driver "
            "runs (`nvidia-smi`) and what CUDA_VISIBLE_DEVICES hides, or choose "
            "`--backend openvino`"
        )
    return Device(driver, ordinal)
