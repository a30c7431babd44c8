import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.output.journal import Journal, Piece, Recorded, read_journal

IDENTITY = {"bundle": {"sha256": "ab"}, "tile": 512}
NAMES = st.text(min_size=1, max_size=6)
PIECES = st.lists(
    st.builds(
        Piece,
        map=NAMES,
        block=st.integers(0, 99),
        cols=st.tuples(st.integers(0, 50), st.integers(51, 99)),
        crc=st.integers(0, 2**32 - 1),
    ),
    max_size=6,
)


def told(pieces: list[Piece]) -> dict[str, dict[tuple[int, int, int], Piece]]:
    """What a journal tells after these pieces; later ones count."""
    found: dict[str, dict[tuple[int, int, int], Piece]] = {}
    for piece in pieces:
        start, stop = piece.cols
        found.setdefault(piece.map, {})[piece.block, start, stop] = piece
    return found


def write(path: Path, pieces: list[Piece], stems: list[str]) -> None:
    journal = Journal.begin(path, IDENTITY)
    for piece in pieces:
        journal.add_pieces([piece])
    for number, stem in enumerate(stems):
        journal.add_finished(stem, {f"{stem}.tif": number})
    journal.sync()
    journal.close()


@settings(max_examples=30)
@given(pieces=PIECES, stems=st.lists(NAMES, unique=True, max_size=3))
def test_what_is_written_is_read(
    pieces: list[Piece], stems: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    write(path, pieces, stems)
    recorded = read_journal(path)
    assert recorded == Recorded(
        identity=IDENTITY,
        pieces=told(pieces),
        finished={stem: {f"{stem}.tif": number} for number, stem in enumerate(stems)},
        end=path.stat().st_size,
    )
    assert recorded.is_empty == (not pieces and not stems)


@settings(max_examples=30)
@given(pieces=PIECES, data=st.data())
def test_a_torn_line_is_passed_over_and_written_over(
    pieces: list[Piece], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    write(path, pieces, [])
    lines = path.read_bytes().splitlines(keepends=True)
    kept = data.draw(st.integers(1, len(lines)))
    torn = lines[kept] if kept < len(lines) else b'{"map": "a", "bl\n'
    part = torn[: data.draw(st.integers(0, len(torn) - 1))]
    path.write_bytes(b"".join(lines[:kept]) + part)

    recorded = read_journal(path)
    assert recorded is not None
    assert (recorded.identity, recorded.pieces) == (IDENTITY, told(pieces[: kept - 1]))
    new = Piece(map="new", block=1, cols=(0, 2), crc=3)
    journal = Journal(path, recorded)
    journal.add_pieces([new])
    journal.close()
    again = read_journal(path)
    assert again is not None
    assert again.pieces == told([*pieces[: kept - 1], new])
    assert path.read_bytes().count(b"\n") == kept + 1


@settings(max_examples=40)
@given(garbage=st.binary(max_size=60) | st.lists(st.integers()).map(lambda x: str(x).encode()))
def test_lines_of_anything_else_count_for_nothing(
    garbage: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    piece = Piece(map="a", block=0, cols=(0, 5), crc=1)
    write(path, [piece], [])
    path.write_bytes(path.read_bytes() + garbage.replace(b"\n", b"") + b"\n")
    recorded = read_journal(path)
    assert recorded is not None
    assert (recorded.identity, recorded.pieces) == (IDENTITY, told([piece]))


@pytest.mark.parametrize(
    "line",
    [
        '{"map": "a", "block": "0", "cols": [0, 5], "crc": 1}',
        '{"map": "a", "block": 0, "cols": [0, null], "crc": 1}',
        '{"map": "a", "block": 0, "cols": [0], "crc": 1}',
        '{"map": ["a"], "block": 0, "cols": [0, 5], "crc": 1}',
        '{"finished": "a", "files": 7}',
        '"finished"',
        "[]",
    ],
)
def test_lines_of_another_kind_count_for_nothing(line: str, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text(json.dumps({"journal": 1, "identity": {}}) + "\n" + line + "\n")
    recorded = read_journal(path)
    assert recorded is not None
    assert recorded.is_empty


@pytest.mark.parametrize("first", ["{}", '{"journal": 2, "identity": {}}', "", '{"jour'])
def test_without_its_first_line_a_journal_is_of_no_known_run(first: str, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text(first)
    recorded = read_journal(path)
    assert recorded is not None
    assert recorded.identity is None


def test_no_journal_is_none(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "journal") is None
