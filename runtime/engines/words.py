"""What TensorRT said: read from the log that Polygraphy writes, and what it means."""

import re
from pathlib import Path

_RECORD = re.compile(r"\[(?P<severity>.)\] (?P<text>.*)")
_OF_PARSER = "In node "
"""What the parser's own errors start with, which name node and operator. TensorRT logs what led to
them before, in many lines."""

_MOST, _LONGEST = 3, 300
"""Messages that are quoted, the first of which tell the cause, and letters of each."""


_OUT_OF_MEMORY = ("out of memory", "outofmemory", "could not be allocated", "memoryerror")


def is_out_of_memory(said: str) -> bool:
    """Tell whether TensorRT says that the device, or the machine, has no memory left."""
    return any(words in said.lower() for words in _OUT_OF_MEMORY)


class Words:
    """A log that grows, and how far it was read."""

    def __init__(self, path: Path) -> None:
        """Read from the beginning of a file, which need not be there yet."""
        self._path = path
        self._read = 0

    def errors(self) -> str:
        """Quote the errors since the warnings were asked for last, in one line."""
        return _quoted(self._text(), "E")

    def warnings(self) -> str:
        """Quote the warnings and errors since the last call, in one line."""
        text = self._text()
        self._read += len(text)
        return _quoted(text, "EW")

    def _text(self) -> str:
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        return text[self._read :]


def _quoted(text: str, severities: str) -> str:
    said = list(dict.fromkeys(_messages(text, severities)))
    said = [message for message in said if message.startswith(_OF_PARSER)] or said
    return " / ".join(message[:_LONGEST] for message in said[:_MOST])


def _messages(text: str, severities: str) -> list[str]:
    """Messages of some severities; their further lines are indented."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if record := _RECORD.fullmatch(line):
            found.append((record["severity"], [record["text"]]))
        elif found:
            found[-1][1].append(line)
    return [" ".join(" ".join(lines).split()) for kind, lines in found if kind in severities]
