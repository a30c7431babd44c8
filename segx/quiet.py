"""Keep tracebacks that no error stands behind from the terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType


@contextmanager
def quiet_gdal() -> Iterator[None]:
    """Drop what Python prints where rasterio cannot decode what GDAL says of a file.

    It decodes that in a callback, which can raise nothing: Python prints the error, which no call
    led to, and then a traceback. Images made to harm, or damaged ones, can bring that about.
    """
    print_error, print_ignored = sys.excepthook, sys.unraisablehook

    def shown(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if trace is not None or not isinstance(error, UnicodeDecodeError):
            print_error(kind, error, trace)

    def ignored(what: "sys.UnraisableHookArgs") -> None:
        if not str(what.object).startswith("rasterio."):
            print_ignored(what)

    sys.excepthook, sys.unraisablehook = shown, ignored
    try:
        yield
    finally:
        sys.excepthook, sys.unraisablehook = print_error, print_ignored
