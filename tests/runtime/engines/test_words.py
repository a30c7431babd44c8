from pathlib import Path

import pytest

from runtime.engines.words import Words

# What TensorRT-RTX 1.7.1 says of a graph with Transpose on bytes.
REFUSED = """\
[I] Reading the graph
[E] ITensor::getDimensions: Error Code 4: API Usage Error (first input has type UInt8)
[E] [checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (cudaError 35)
[E] ModelImporter.cpp:140: While parsing node number 0 [Transpose -> "float_tile"]:
[E] ModelImporter.cpp:142: --- Begin node ---
    Node name: turn
[E] ModelImporter.cpp:143: --- End node ---
[E] In node 0 with name: turn and operator: Transpose (parseNode): INVALID_NODE: Invalid Node
    ITensor::getDimensions: Error Code 4: API Usage Error (first input has type UInt8)
[!] Could not parse ONNX correctly
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.txt"


def test_of_a_graph_that_is_refused_the_parsers_own_error_is_told(log: Path) -> None:
    log.write_text(REFUSED)
    assert Words(log).errors() == (
        "In node 0 with name: turn and operator: Transpose (parseNode): INVALID_NODE: Invalid Node "
        "ITensor::getDimensions: Error Code 4: API Usage Error (first input has type UInt8)"
    )


def test_errors_are_told_once_and_the_first_ones_only(log: Path) -> None:
    log.write_text("[W] careful\n" + "".join(f"[E] error {n}\n" for n in (1, 1, 2, 3, 4)))
    assert Words(log).errors() == "error 1 / error 2 / error 3"


def test_long_messages_are_cut(log: Path) -> None:
    log.write_text("[E] " + "x" * 999 + "\n")
    assert Words(log).errors() == "x" * 300


def test_what_was_told_as_a_warning_is_not_told_as_an_error(log: Path) -> None:
    words = Words(log)
    assert (words.warnings(), words.errors()) == ("", "")
    log.write_text("[I] begin\n[E] first\n")
    assert words.warnings() == "first"
    with log.open("a") as stream:
        stream.write("[W] second\n[E] third\n")
    assert words.errors() == "third"
    assert words.warnings() == "second / third"
    assert (words.warnings(), words.errors()) == ("", "")
