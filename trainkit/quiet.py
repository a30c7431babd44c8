"""Keep Lightning and TensorBoard to themselves: banners, tips, tracebacks, and Ctrl-C."""

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from tensorboard.summary.writer.event_file_writer import EventFileWriter

_QUIET = (
    r"The '(train|val)_dataloader' does not have many workers",
    r"Checkpoint directory .* exists and is not empty",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    r"Detected call of `lr_scheduler.step\(\)` before `optimizer.step\(\)`",
)
"""Warnings of Lightning and torch about what is meant to be so."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's banners, tips and the warnings of `_QUIET` back."""
    loggers = [logging.getLogger(n) for n in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in _QUIET:
            warnings.filterwarnings("ignore", message)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def writer_quiet() -> Iterator[None]:
    """Drop what Python prints where TensorBoard's writer, a thread, cannot write.

    Whoever hands it something to write is given its error, too.
    """
    before = threading.excepthook

    def shown(failure: threading.ExceptHookArgs) -> None:
        is_writer = type(failure.thread).__module__ == EventFileWriter.__module__
        if not (is_writer and isinstance(failure.exc_value, OSError)):
            before(failure)

    threading.excepthook = shown
    try:
        yield
    finally:
        threading.excepthook = before


@contextmanager
def ctrl_c_kept() -> Iterator[None]:
    """Let Ctrl-C out as such: Lightning turns it into an exit and switches it off."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:
        raise KeyboardInterrupt from stop
    finally:
        signal.signal(signal.SIGINT, before)
