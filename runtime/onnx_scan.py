"""Look through an ONNX file before a library opens it, without the package onnx.

A bundle may come from anywhere, and the hashes in its manifest say only that it is whole. What a
graph could reach beyond itself is refused here: weights in other files, operators and functions
that are not ONNX's own, and tensors whose stated size has nothing to do with the file's. So are
branches and loops, which need not end; no graph that segx writes has any.

An ONNX file is a protobuf message: fields of a number, a wire type and a value, where messages are
values of stated length (https://protobuf.dev/programming-guides/encoding). The numbers used here
are those of onnx.proto3.

    ModelProto   7 graph, 8 opset_import, 20 training_info, 25 functions
    GraphProto   1 node, 5 initializer, 15 sparse_initializer
    NodeProto    4 op_type, 5 attribute, 7 domain
    Attribute    5 t, 6 g, 10 tensors, 11 graphs, 22 sparse_tensor, 23 sparse_tensors
    TensorProto  1 dims, 8 name, 13 external_data, 14 data_location
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .errors import BundleError, brief

DOMAINS = frozenset({"", "ai.onnx"})
"""Domains of operators that ONNX itself defines and segx writes."""

MOST_BYTES = 2 << 30
"""Beyond, protobuf reads no message."""

MOST_VALUES_PER_BYTE = 2
"""INT4 has two values in a byte; nothing that segx writes has more."""

MOST_AXES = 64
"""Of a tensor; the product of many large sizes would take hours."""

_TEXT_BYTES = 256
"""What is read of a name."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types."""


class _Message(NamedTuple):
    """A stretch of the file that is one message."""

    begin: int
    end: int


class _Malformed(ValueError):
    """The file is no protobuf message of the kind expected."""


def check_onnx(path: Path) -> None:
    """Refuse an ONNX file that is not self-contained.

    Raises:
        BundleError: If it is no ONNX file, or leads beyond itself; the message says where to.
    """
    try:
        size = path.stat().st_size
        if not 0 < size <= MOST_BYTES:
            raise _Malformed(f"it has {size} bytes")
        with (
            path.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            fault = _fault(data, _Message(0, size))
    except (OSError, ValueError, IndexError) as error:
        raise BundleError(
            f"{path} cannot be read as ONNX ({brief(error)}); expected a part of this bundle; copy "
            "or export the bundle again"
        ) from error
    if fault:
        raise BundleError(
            f"{path} {fault}; expected a graph of ONNX's own operators with its weights in the "
            "file, as segx writes them; export the bundle again, or get it from whom you trust"
        )


def _fault(data: mmap.mmap, model: _Message) -> str:
    graphs = 0
    for number, value in _messages(data, model):
        if number == 7:
            graphs += 1
            fault = _fault_of_graph(data, value)
        elif number == 8:
            fault = _fault_of_domain(_texts(data, value, 1))
        elif number == 20:
            fault = "holds graphs for training"
        elif number == 25:
            fault = "defines functions of its own"
        else:
            continue
        if fault:
            return fault
    if graphs != 1:
        raise _Malformed(f"it holds {graphs} graphs")
    return ""


def _fault_of_graph(data: mmap.mmap, graph: _Message) -> str:
    for number, value in _messages(data, graph):
        fault = ""
        if number == 1:
            fault = _fault_of_node(data, value)
        elif number == 5:
            fault = _fault_of_tensor(data, value)
        elif number == 15:
            fault = "has sparse weights"
        if fault:
            return fault
    return ""


def _fault_of_node(data: mmap.mmap, node: _Message) -> str:
    for number, value in _messages(data, node):
        fault = ""
        if number == 5:
            fault = _fault_of_attribute(data, value)
        elif number == 7:
            fault = _fault_of_domain([_text(data, value)])
        if fault:
            return fault
    return ""


def _fault_of_attribute(data: mmap.mmap, attribute: _Message) -> str:
    tensors = 0
    for number, value in _messages(data, attribute):
        fault = ""
        if number in (5, 10):
            fault = _fault_of_tensor(data, value)
            tensors += number == 5
            if tensors > 1:  # which protobuf makes one of
                raise _Malformed("an attribute has two values")
        elif number in (6, 11):
            fault = "has branches or loops"
        elif number in (22, 23):
            fault = "has sparse weights"
        if fault:
            return fault
    return ""


def _fault_of_domain(names: list[str]) -> str:
    strange = sorted(set(names) - DOMAINS)
    return f"uses operators of {strange[0][:60]!r}" if strange else ""


def _fault_of_tensor(data: mmap.mmap, tensor: _Message) -> str:
    values, axes, name = 1, 0, ""
    for number, value in _fields(data, tensor):
        if number == 13 or (number == 14 and value != 0):
            return f"keeps weights in other files ({name or 'unnamed'})"
        if number == 8 and isinstance(value, _Message):
            name = _text(data, value)[:60]
        if number == 1:
            packed = _varints(data, value) if isinstance(value, _Message) else [value]
            for size in packed:
                if size >= 1 << 63:
                    return f"has a tensor with a negative size ({name or 'unnamed'})"
                values, axes = values * size, axes + 1
                if axes > MOST_AXES:
                    return f"has a tensor of more than {MOST_AXES} axes ({name or 'unnamed'})"
    size = tensor.end - tensor.begin
    if values > MOST_VALUES_PER_BYTE * size:
        return f"states {values:.3g} values for a tensor of {size} bytes ({name or 'unnamed'})"
    return ""


def _texts(data: mmap.mmap, message: _Message, wanted: int) -> list[str]:
    return [_text(data, value) for number, value in _messages(data, message) if number == wanted]


def _text(data: mmap.mmap, message: _Message) -> str:
    end = min(message.end, message.begin + _TEXT_BYTES)
    return bytes(data[message.begin : end]).decode("utf-8", errors="replace")


def _messages(data: mmap.mmap, message: _Message) -> Iterator[tuple[int, _Message]]:
    """Give the fields of a message that have a length: texts, packed numbers and messages."""
    for number, value in _fields(data, message):
        if isinstance(value, _Message):
            yield number, value


def _fields(data: mmap.mmap, message: _Message) -> Iterator[tuple[int, int | _Message]]:
    """Walk through a message: the number of each field, and its value or where that lies."""
    position = message.begin
    while position < message.end:
        key, position = _varint(data, position, message.end)
        number, wire = key >> 3, key & 7
        value: int | _Message
        if wire == VARINT:
            value, position = _varint(data, position, message.end)
        elif wire == BYTES:
            length, position = _varint(data, position, message.end)
            value = _Message(position, position + length)
            position += length
        elif wire in (FIXED32, FIXED64):
            value = 0
            position += 4 if wire == FIXED32 else 8
        else:
            raise _Malformed(f"wire type {wire} at byte {position}")
        if position > message.end:
            raise _Malformed(f"a field ends {position - message.end} bytes beyond its message")
        yield number, value


def _varints(data: mmap.mmap, message: _Message) -> Iterator[int]:
    position = message.begin
    while position < message.end:
        value, position = _varint(data, position, message.end)
        yield value


def _varint(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    """Read a number of 7 bits a byte, least first; give it and where it ends."""
    value = data[position]
    position += 1
    if value < 0x80:
        return value, position
    value &= 0x7F
    for shift in range(7, 70, 7):
        if position >= end:
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _Malformed(f"a number does not end at byte {position}")
