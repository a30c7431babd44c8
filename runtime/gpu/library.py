"""TensorRT or TensorRT-RTX, imported to run engines, and what it last complained of."""

import logging
from collections.abc import Callable
from typing import Any

from ..engines.api import builder_version, load_tensorrt, make_logger, new_runtime, probe
from ..engines.target import EngineBuilder
from ..engines.words import is_out_of_memory
from ..errors import DeviceMemoryError, EngineError, brief

_ERRORS = ("ERROR", "INTERNAL_ERROR")

_log = logging.getLogger(__name__)


class Library:
    """An imported library; its calls give nothing or False where they fail, and a line in a log."""

    def __init__(self, builder: EngineBuilder) -> None:
        """Import it.

        Raises:
            BackendError: If it is not installed.
        """
        self.builder = builder
        self.trt = load_tensorrt(builder)
        self.abilities = probe(self.trt)
        self.version = builder_version(self.trt)
        self.runtime: Any = None
        """What opens engines, from `start` to `close`."""
        self._complaint = ""
        # TensorRT does not keep the logger alive that it writes to.
        self._logger = make_logger(self.trt, self._hear)

    def _hear(self, severity: str, text: str) -> None:
        if severity in _ERRORS:
            self._complaint = " ".join(text.split())[:500]
        _log.debug("%s %s: %s", self.builder, severity, text)

    def start(self) -> None:
        """Make what opens engines; the device's context must be current.

        Raises:
            EngineError: If the library cannot use the device.
        """
        self.runtime = new_runtime(self.trt, self._logger)

    def ask(self, what: str, function: Callable[..., Any], *args: Any) -> Any:
        """Call the library.

        Args:
            what: What it is asked to do, for the message.
            function: Gives None or False where it fails.
            args: What the function takes.

        Raises:
            DeviceMemoryError: If it failed for lack of device memory.
            EngineError: If it failed.
        """
        self._complaint = ""
        try:
            answer = function(*args)
        except RuntimeError as error:
            answer, self._complaint = None, brief(error)
        if answer is None or answer is False:
            # A traceback must not keep what TensorRT made: it has to go before the context does.
            del function, args
            raise self._refusal(what)
        return answer

    def _refusal(self, what: str) -> EngineError | DeviceMemoryError:
        said = self._complaint or "and did not say why"
        found = f"{self.builder} {self.version} refused to {what} ({said})"
        if is_out_of_memory(said):
            return DeviceMemoryError(
                f"{found}; expected more free memory on the GPU; close other programs that use it, "
                "or choose a smaller batch"
            )
        return EngineError(
            f"{found}; expected an engine that this device can run; run `segx cache --clear` so "
            "that it is built again, and look at `segx doctor`"
        )

    def close(self) -> None:
        """Let go of what opens engines, after all engines are closed."""
        self.runtime = None
