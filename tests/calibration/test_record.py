import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.pairs import Pairs, check_pairs
from calibration.record import (
    Basis,
    Record,
    load_record,
    preprocessing_hash,
    require_fresh,
    write,
)
from calibration.selection import choose
from runtime.card import ModelCard
from runtime.errors import CalibrationError
from runtime.satellite import DatePolicy, SatelliteSpec

BASIS = Basis(
    fingerprint="f" * 64,
    preprocessing="p" * 64,
    sources={"aerial": "1" * 64, "fusion": "2" * 64},
    segx_version="0.2.1",
)


@pytest.fixture(scope="module")
def record(ground: Any, card: ModelCard) -> Record:
    data = ground(areas={"a": 14, "b": 12, "c": 2})
    chosen = choose(data, "train", count=26, seed=3, satellite=card.satellite)
    return Record(
        basis=BASIS,
        selection=chosen,
        method="entropy",
        pairs=check_pairs(data, chosen.ids, card),
        versions={"onnxruntime": "1.2"},
    )


def test_what_was_written_is_read_and_fresh(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    sealed = write(path, record)
    found = load_record(path)
    assert found == sealed
    assert found == dataclasses.replace(record, digest=found.digest)
    assert found.pairs.fit is not None
    assert found.pairs.fit.areas
    require_fresh(found, BASIS, where="r.json")
    write(path, found)
    assert load_record(path) == found, "the digest does not depend on the one before"
    assert [file.name for file in tmp_path.iterdir()] == ["calibration.json"]


def keys(data: Any, *above: str | int) -> list[tuple[str | int, ...]]:
    """Paths of all numbers, texts and nulls in a JSON value."""
    if isinstance(data, dict):
        return [path for key in data for path in keys(data[key], *above, key)]
    if isinstance(data, list):
        return [path for i, item in enumerate(data) for path in keys(item, *above, i)]
    return [above]


@given(choice=st.data())
def test_any_change_by_hand_is_noticed(
    record: Record, tmp_path_factory: pytest.TempPathFactory, choice: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("edited") / "r.json"
    write(path, record)
    data = json.loads(path.read_text())
    *above, last = choice.draw(st.sampled_from(keys(data)))
    place = data
    for key in above:
        place = place[key]
    place[last] = place[last] + (1 if isinstance(place[last], int | float) else "x")
    path.write_text(json.dumps(data))
    with pytest.raises(CalibrationError, match=r"was edited|record_version"):
        require_fresh(load_record(path), BASIS, where="r.json")


def test_a_record_without_digest_is_not_believed(record: Record) -> None:
    message = r"r\.json was edited: its content has the digest \w{12}; expected one as it says; cal"
    with pytest.raises(CalibrationError, match=message):
        require_fresh(record, BASIS, where="r.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fingerprint": "x"}, "the data set has changed"),
        ({"preprocessing": "x"}, "inputs are prepared in another way"),
        ({"sources": {**BASIS.sources, "fusion": "x"}}, "the FP32 graph of fusion is another"),
        ({"sources": {"aerial": "1" * 64}}, "the FP32 graph of fusion is another"),
        ({"sources": {**BASIS.sources, "new": "x"}}, "the FP32 graph of new is another"),
        ({"segx_version": "0.3.0"}, r"segx was 0\.2\.1 and is 0\.3\.0"),
        ({"segx_version": "1.2.1"}, r"segx was 0\.2\.1 and is 1\.2\.1"),
        (
            {"fingerprint": "x", "segx_version": "0.3.0"},
            "the data set has changed, segx was .*; expected what it was measured with; calibrate",
        ),
    ],
)
def test_a_stale_record_says_what_has_changed(
    record: Record, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    sealed = write(tmp_path / "r.json", record)
    with pytest.raises(CalibrationError, match=rf"r\.json is stale: {message}"):
        require_fresh(sealed, dataclasses.replace(BASIS, **changes), where="r.json")


def test_a_patch_release_keeps_records(record: Record, tmp_path: Path) -> None:
    sealed = write(tmp_path / "r.json", record)
    require_fresh(sealed, dataclasses.replace(BASIS, segx_version="0.2.9"), where="r.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read as JSON .* expected a calibration record; calibrate again"),
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "has record_version None; expected 1; calibrate again with this segx"),
        ('{"record_version": 2}', "has record_version 2; expected 1"),
        ('{"record_version": 1}', "lacks the key 'basis'"),
    ],
)
def test_a_file_that_is_no_record_is_one_line(
    tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "r.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CalibrationError, match=message):
        load_record(path)


def test_a_key_of_ones_own_is_noticed(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write(path, record)
    path.write_text(json.dumps({**json.loads(path.read_text()), "note": "mine"}))
    with pytest.raises(CalibrationError, match="unknown key 'note'"):
        load_record(path)


def test_the_hash_of_preprocessing_moves_with_all_that_it_is_about(
    ground: Any, card: ModelCard
) -> None:
    ((_, feed),) = Pairs(ground(), ["a00"], card)
    policy = dataclasses.replace(DatePolicy(), max_covered=0.4)
    assert card.satellite is not None
    cards = [
        card,
        dataclasses.replace(card, satellite=None),
        dataclasses.replace(card, satellite=SatelliteSpec(window=8)),
        dataclasses.replace(card, satellite=dataclasses.replace(card.satellite, dates=policy)),
        dataclasses.replace(card, aerial=dataclasses.replace(card.aerial, tile_size=80)),
        dataclasses.replace(card, aerial=dataclasses.replace(card.aerial, resolution_m=2.0)),
        dataclasses.replace(card, aerial=dataclasses.replace(card.aerial, bands=tuple("abcde"))),
    ]
    hashes = [preprocessing_hash(each, feed) for each in cards]
    for name, array in feed.items():
        changed = array.copy()
        changed.flat[-1] = np.nextafter(changed.flat[-1], 9) if array.dtype.kind == "f" else 9
        hashes.append(preprocessing_hash(card, {**feed, name: changed}))
    assert len(set(hashes)) == len(hashes) == 7 + 4
    assert preprocessing_hash(card, dict(reversed(feed.items()))) == hashes[0]
