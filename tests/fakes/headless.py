"""A headless Chromium that opens a page and tells what happened, through its debugging pipe."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LIMIT_S = 60.0
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-pipe",
)

LAUNCH = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for wanted, pipe in zip((3, 4), pipes):
    os.dup2(pipe, wanted)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""The browser reads commands from descriptor 3 and writes answers to 4."""


def find_chromium() -> str | None:
    """Find the browser on the path."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Headless:
    """One tab; use it as a context manager."""

    def __init__(self, program: str, profile: Path) -> None:
        """Start the browser."""
        self.events: list[dict[str, Any]] = []
        self._rest, self._last = b"", 0
        self._session: str | None = None
        from_us, self._write = os.pipe()
        self._read, to_us = os.pipe()
        browser = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        command = [sys.executable, "-c", LAUNCH, str(from_us), str(to_us), *browser]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, pass_fds=(from_us, to_us), stdin=quiet, stdout=quiet, stderr=quiet
        )
        os.close(from_us)
        os.close(to_us)
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> "Headless":
        """Give the tab."""
        return self

    def __exit__(self, *error: object) -> None:
        """End the browser."""
        self._session = None
        self.call("Browser.close")
        self._process.wait(LIMIT_S)
        os.close(self._write)
        os.close(self._read)

    def call(self, method: str, **params: Any) -> Any:
        """Call a method of the DevTools protocol and give its result."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        answer = self._until(lambda found: found.get("id") == message["id"])
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, page: Path) -> None:
        """Load a page; what happens from then on is in `events`."""
        self.events.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        loaded = "Page.loadEventFired"
        # It may have come before the answer.
        if all(event["method"] != loaded for event in self.events):
            self._until(lambda found: found.get("method") == loaded)

    def ask(self, expression: str) -> Any:
        """Evaluate an expression in the page and give its value."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    def resize(self, width: int, height: int = 900) -> None:
        """Give the tab a size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, *, scheme: str = "light", media: str = "screen") -> None:
        """Set the colours that the user prefers, and screen or print."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def picture(self, path: Path) -> None:
        """Save what the tab shows as a PNG file."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def _until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        end = time.monotonic() + LIMIT_S
        while True:
            while b"\0" in self._rest:
                line, _, self._rest = self._rest.partition(b"\0")
                found: dict[str, Any] = json.loads(line)
                if "method" in found:
                    self.events.append(found)
                if wanted(found):
                    return found
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._read], [], [], left)[0]:
                self._process.kill()
                self._process.wait()
                raise TimeoutError("the browser does not answer")
            self._rest += os.read(self._read, 1 << 16)
