"""Give memory that was freed back to the system."""

import ctypes
import sys


def trim() -> None:
    """Let glibc give back what its allocator keeps of freed memory; nothing elsewhere.

    The stages of a run free large buffers in several threads, which glibc keeps for each of them.
    """
    if sys.platform != "linux":
        return
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)
