"""Memory of the fake GPU: device blocks by made-up addresses, pinned host blocks by real ones.

What would crash or corrupt a real device raises `GpuMisuse`, so that a test fails where it happens.
"""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

FIRST_DEVICE_ADDRESS = 0x7F00_0000_0000
ALIGNMENT = 512
GARBAGE = 0xFF
"""Value of memory that nobody has written: NaN as a float, 255 as a byte."""


class GpuMisuse(AssertionError):
    """The code under test did what a real device answers with a crash or wrong results."""


class DeviceMemory:
    """Blocks by address; guard gaps between them, and no address is given twice."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.sizes: dict[int, int] = {}
        self._data: dict[int, Bytes] = {}
        self._freed: dict[int, int] = {}
        self._next = FIRST_DEVICE_ADDRESS

    @property
    def used(self) -> int:
        return sum(self.sizes.values())

    def allocate(self, size: int, *, backed: bool = True) -> int:
        """Give a block of `size` bytes; one that is not `backed` can be counted but not touched."""
        address = self._next
        self._next += (size // ALIGNMENT + 2) * ALIGNMENT
        self.sizes[address] = size
        if backed:
            self._data[address] = np.full(size, GARBAGE, np.uint8)
        return address

    def free(self, address: int) -> None:
        if address not in self.sizes:
            state = "freed twice" if address in self._freed else "freed but never allocated"
            raise GpuMisuse(f"device address {address:#x} was {state}")
        self._freed[address] = self.sizes.pop(address)
        self._data.pop(address, None)

    def view(self, address: int, size: int) -> Bytes:
        """View `size` bytes from `address` on, which must lie in one live block."""
        for start, data in self._data.items():
            if start <= address < start + len(data):
                if address + size > start + len(data):
                    raise GpuMisuse(
                        f"{size} bytes at {address:#x} leave their device block of {len(data)} "
                        f"bytes at {start:#x}"
                    )
                return data[address - start : address - start + size]
        freed = any(a <= address < a + n for a, n in self._freed.items())
        what = "freed" if freed else "not device memory"
        raise GpuMisuse(f"{size} bytes at {address:#x} are {what}")


class HostMemory:
    """Pinned blocks; freed ones are kept, filled with garbage, so that late readers see garbage."""

    def __init__(self) -> None:
        self.blocks: dict[int, Bytes] = {}
        self._graveyard: list[Bytes] = []

    def allocate(self, size: int) -> int:
        block = np.full(max(size, 1), GARBAGE, np.uint8)
        self.blocks[block.ctypes.data] = block
        return block.ctypes.data

    def free(self, address: int) -> None:
        if address not in self.blocks:
            raise GpuMisuse(f"host address {address:#x} is not a live pinned block")
        block = self.blocks.pop(address)
        block[:] = GARBAGE
        self._graveyard.append(block)

    def is_pinned(self, address: int, size: int) -> bool:
        self._refuse_freed(address)
        return any(a <= address and address + size <= a + len(b) for a, b in self.blocks.items())

    def _refuse_freed(self, address: int) -> None:
        for block in self._graveyard:
            if block.ctypes.data <= address < block.ctypes.data + len(block):
                raise GpuMisuse(f"pinned host memory at {address:#x} is freed")


def host_view(address: int, size: int) -> Bytes:
    """View host memory of this process."""
    buffer: Any = (ctypes.c_uint8 * size).from_address(address)
    return np.frombuffer(buffer, np.uint8)
