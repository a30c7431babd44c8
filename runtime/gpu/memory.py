"""What is taken from a device, and given back in any case."""

import logging
from collections.abc import Callable
from ctypes import c_uint8

import numpy as np
from numpy.typing import NDArray

from ..errors import DeviceError
from .driver import Driver

_log = logging.getLogger(__name__)


class Resources:
    """Memory, streams and events of a device, which are given back together.

    The device's context must be current in every call.
    """

    def __init__(self, driver: Driver) -> None:
        """Take nothing yet."""
        self._driver = driver
        self._undo: list[Callable[[], None]] = []

    def device(self, size: int) -> int:
        """Allocate device memory.

        Returns:
            Address of `size` bytes.

        Raises:
            DeviceMemoryError: If there is not so much.
        """
        address = self._driver.alloc(size)
        self._undo.append(lambda: self._driver.free(address))
        return address

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """Allocate page-locked host memory, which the device can copy from and to by itself.

        Returns:
            Array of `size` bytes; it must not be touched after `close`.

        Raises:
            DeviceMemoryError: If there is not so much.
        """
        address = self._driver.alloc_host(size)
        self._undo.append(lambda: self._driver.free_host(address))
        return np.ctypeslib.as_array((c_uint8 * size).from_address(address))

    def stream(self) -> int:
        """Make a stream."""
        made = self._driver.create_stream()
        self._undo.append(lambda: self._driver.destroy_stream(made))
        return made

    def event(self) -> int:
        """Make an event."""
        made = self._driver.create_event()
        self._undo.append(lambda: self._driver.destroy_event(made))
        return made

    def adopt(self, other: "Resources") -> None:
        """Give back what others hold together with this, after it."""
        self._undo.insert(0, other.close)

    def close(self) -> None:
        """Give everything back, the last taken first, even where the driver reports errors.

        Raises:
            DeviceError: The first error reported.
        """
        run_all(self._undo)

    def abandon(self) -> None:
        """Give everything back after an error that a further one is not to hide."""
        try:
            self.close()
        except DeviceError as error:
            _log.warning("while cleaning up: %s", error)


def run_all(steps: list[Callable[[], None]]) -> None:
    """Run steps of a clean-up, the last first, each once, whatever fails.

    Raises:
        DeviceError: The first error; further ones are logged.
    """
    first: DeviceError | None = None
    while steps:
        try:
            steps.pop()()
        except DeviceError as error:
            if first is not None:
                _log.warning("while cleaning up: %s", error)
            first = first or error
    if first is not None:
        raise first
