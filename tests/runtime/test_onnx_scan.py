"""A graph from elsewhere must not lead beyond its own file."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import BundleError
from runtime.onnx_scan import MOST_AXES, check_onnx
from segx.bundles import TOY

# Messages of protobuf: a field is its number and wire type, then a number, or a length and bytes.


def number(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(key: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return number(key << 3) + number(value)
    content = value.encode() if isinstance(value, str) else value
    return number(key << 3 | 2) + number(len(content)) + content


def tensor(*fields: bytes, dims: tuple[int, ...] = (2,)) -> bytes:
    sizes = b"".join(field(1, size) for size in dims)
    return sizes + field(2, 1) + field(8, "weight") + b"".join(fields)


def node(*fields: bytes, domain: str = "") -> bytes:
    return field(1, "x") + field(2, "y") + field(4, "Relu") + b"".join(fields) + field(7, domain)


def model(*graph: bytes, more: bytes = b"", domain: str = "") -> bytes:
    opset = field(1, domain) + field(2, 20)
    return field(1, 10) + field(7, b"".join(graph)) + field(8, opset) + more


WHOLE = tensor(field(9, bytes(8)))

GOOD = {
    "weights in the file": model(field(5, WHOLE), field(1, node())),
    "a domain by its name": model(field(1, node(domain="ai.onnx")), domain="ai.onnx"),
    "many axes": model(field(5, tensor(dims=(1,) * MOST_AXES))),
    "an empty tensor": model(field(5, tensor(dims=(0, 1 << 40)))),
    "packed sizes": model(field(5, field(1, number(2) + number(2)) + field(9, bytes(16)))),
}

BAD = {
    "external data": (
        model(field(5, tensor(field(13, field(1, "location") + field(2, "../../secret"))))),
        "keeps weights in other files (weight)",
    ),
    "external location": (
        model(field(5, tensor(field(14, 1)))),
        "keeps weights in other files (weight)",
    ),
    "external data of a constant": (
        model(field(1, node(field(5, field(1, "value") + field(5, tensor(field(14, 1))))))),
        "keeps weights in other files",
    ),
    "external data of a list": (
        model(field(1, node(field(5, field(10, tensor(field(14, 1))))))),
        "keeps weights in other files",
    ),
    "operators of others": (
        model(field(1, node(domain="evil.ops"))),
        "uses operators of 'evil.ops'",
    ),
    "an opset of others": (model(domain="com.example"), "uses operators of 'com.example'"),
    "functions": (model(more=field(25, field(1, "f"))), "defines functions of its own"),
    "sparse weights": (model(field(15, b"")), "has sparse weights"),
    "a sparse constant": (model(field(1, node(field(5, field(22, b""))))), "has sparse weights"),
    "a negative size": (model(field(5, tensor(dims=(-1,)))), "has a tensor with a negative size"),
    "absurd sizes": (
        model(field(5, tensor(field(9, bytes(8)), dims=(1 << 31, 1 << 31)))),
        "states 4.61e+18 values",
    ),
    "a branch": (model(field(1, node(field(5, field(6, b""))))), "has branches or loops"),
    "branches": (model(field(1, node(field(5, field(11, b""))))), "has branches or loops"),
    "training": (model(more=field(20, b"")), "holds graphs for training"),
    "two values": (
        model(field(1, node(field(5, field(5, tensor()) + field(5, tensor()))))),
        "an attribute has two values",
    ),
    "axes without end": (
        model(field(5, tensor(dims=(1 << 62,) * (MOST_AXES + 1)))),
        "has a tensor of more than 64 axes",
    ),
    "a name without end": (
        model(field(1, node(domain="x" * 9999))),
        f"uses operators of '{'x' * 60}'",
    ),
    "two graphs": (model(more=field(7, b"")), "it holds 2 graphs"),
    "no graph": (field(1, 10), "it holds 0 graphs"),
    "nothing": (b"", "it has 0 bytes"),
    "a cut": (model(field(5, WHOLE))[:-3], "beyond its message"),
    "an endless number": (b"\xff" * 12, "does not end"),
    "a group": (b"\x0b\x0c", "wire type 3"),
    "text": (b"hello, this is no graph", "cannot be read as ONNX"),
}


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", GOOD)
def test_a_graph_with_all_it_needs_passes(name: str, tmp_path: Path) -> None:
    check_onnx(write(tmp_path / "a.onnx", GOOD[name]))


@pytest.mark.parametrize("name", BAD)
def test_what_leads_beyond_the_file_is_refused(name: str, tmp_path: Path) -> None:
    content, fault = BAD[name]
    with pytest.raises(BundleError) as refused:
        check_onnx(write(tmp_path / "a.onnx", content))
    assert fault in str(refused.value)
    assert "; expected a " in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("path", sorted(TOY.glob("*.onnx")), ids=lambda path: path.name)
def test_the_graphs_that_segx_writes_pass(path: Path) -> None:
    check_onnx(path)


@settings(max_examples=300)
@given(data=st.data())
def test_any_damage_is_refused_or_passes(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(model(field(5, WHOLE), field(1, node())))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    with suppress(BundleError):
        check_onnx(write(path, bytes(content)))
