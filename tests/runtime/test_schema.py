from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import BundleError, ConfigError
from runtime.schema import parse, to_dict


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    name: str
    size: tuple[int, int] = (512, 256)

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a part needs a name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    text: str
    number: int
    ratio: float
    flag: bool
    role: Literal["aerial", "satellite", 1]
    maybe: float | None = None
    mixed: int | str | None = None
    names: tuple[str, ...] = ()
    pair: tuple[int, str] = (1, "a")
    parts: tuple[Part, ...] = ()
    table: dict[str, float] = field(default_factory=dict)
    by_name: dict[str, Part] = field(default_factory=dict)
    main: Part | None = None
    anything: object = None
    made: int = field(init=False, default=7)


LEAST: dict[str, Any] = {
    "text": "a",
    "number": 2,
    "ratio": 0.5,
    "flag": True,
    "role": "aerial",
}

part_objects = st.builds(
    Part, name=st.text(min_size=1), size=st.tuples(st.integers(), st.integers())
)
finite = st.floats(allow_nan=False)
everything = st.builds(
    Everything,
    text=st.text(),
    number=st.integers(),
    ratio=finite,
    flag=st.booleans(),
    role=st.sampled_from(["aerial", "satellite", 1]),
    maybe=st.none() | finite,
    mixed=st.none() | st.integers() | st.text(),
    names=st.lists(st.text()).map(tuple),
    pair=st.tuples(st.integers(), st.text()),
    parts=st.lists(part_objects, max_size=3).map(tuple),
    table=st.dictionaries(st.text(), finite, max_size=3),
    by_name=st.dictionaries(st.text(), part_objects, max_size=2),
    main=st.none() | part_objects,
    anything=st.none() | st.lists(st.integers()) | st.dictionaries(st.text(), st.booleans()),
)


@given(value=everything)
def test_parsing_what_to_dict_gives_returns_the_same_object(value: Everything) -> None:
    plain = to_dict(value)
    del plain["made"]
    assert parse(Everything, plain, where="x") == value


def test_lists_become_tuples_and_tables_become_dataclasses() -> None:
    data = LEAST | {"parts": [{"name": "p", "size": [1, 2]}], "by_name": {"q": {"name": "q"}}}
    parsed = parse(Everything, data, where="x")
    assert parsed.parts == (Part(name="p", size=(1, 2)),)
    assert parsed.by_name == {"q": Part(name="q")}
    assert parsed.names == ()


def test_an_int_becomes_a_float_where_one_is_asked_for() -> None:
    ratio = parse(Everything, LEAST | {"ratio": 2}, where="x").ratio
    assert (ratio, type(ratio)) == (2.0, float)


def test_to_dict_gives_lists_and_plain_tables() -> None:
    assert to_dict(Part(name="p")) == {"name": "p", "size": [512, 256]}
    assert to_dict({1: (Part(name="p"),)}) == {"1": [{"name": "p", "size": [512, 256]}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": 1}, "x: text is 1; expected str"),
        ({"number": "1"}, "x: number is '1'; expected int"),
        ({"number": 1.0}, "x: number is 1.0; expected int"),
        ({"number": True}, "x: number is True; expected int"),
        ({"ratio": True}, "x: ratio is True; expected float"),
        ({"ratio": 10**400}, "expected a number below 1e308"),
        ({"flag": 1}, "x: flag is 1; expected bool"),
        ({"flag": None}, "x: flag is None; expected bool"),
        ({"role": "lidar"}, "x: role is 'lidar'; expected one of aerial, satellite, 1"),
        ({"role": True}, "x: role is True; expected one of"),
        ({"role": []}, r"x: role is \[\]; expected one of"),
        ({"maybe": "none"}, "x: maybe is 'none'; expected float"),
        ({"mixed": 1.5}, "x: mixed is 1.5; expected str"),
        ({"names": "abc"}, "x: names is 'abc'; expected a list"),
        ({"names": ["a", 2]}, r"x: names\[1\] is 2; expected str"),
        ({"pair": [1, "a", 2]}, "x: pair has 3 values; expected 2"),
        ({"pair": ["a", 1]}, r"x: pair\[0\] is 'a'; expected int"),
        ({"table": [1]}, r"x: table is \[1\]; expected a table of keys"),
        ({"table": {"k": "v"}}, "x: table.k is 'v'; expected float"),
        ({"main": 3}, "x: main holds 3; expected a table of keys"),
        ({"main": {"size": [1, 2]}}, "x: main lacks the key 'name'; add it"),
        ({"main": {"name": ""}}, "x: main: a part needs a name"),
        ({"parts": [{"name": "p", "siez": 1}]}, r"x: parts\[0\] has the unknown key 'siez'"),
        ({"text": "n" * 999, "number": "n" * 999}, r"x: number is 'n{56}\.\.\.; expected int"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(Everything, LEAST | change, where="x")


def test_an_unknown_key_names_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match="x has the unknown key 'ration'; did you mean 'ratio'"):
        parse(Everything, LEAST | {"ration": 1.0}, where="x")


def test_a_field_that_the_class_works_out_is_no_key() -> None:
    with pytest.raises(ConfigError, match="unknown key 'made'"):
        parse(Everything, LEAST | {"made": 1}, where="x")


def test_an_odd_key_stays_on_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Everything, LEAST | {"a\nb": 1}, where="x")
    assert "\n" not in str(caught.value)


def test_unknown_keys_are_passed_over_where_asked_at_every_depth() -> None:
    data = LEAST | {"later": 1, "main": {"name": "p", "later": 2}}
    assert parse(Everything, data, where="x", unknown="ignore").main == Part(name="p")


@pytest.mark.parametrize("key", sorted(LEAST))
def test_a_missing_key_is_named(key: str) -> None:
    rest = {name: value for name, value in LEAST.items() if name != key}
    with pytest.raises(ConfigError, match=f"x lacks the key '{key}'; add it"):
        parse(Everything, rest, where="x")


@pytest.mark.parametrize("data", [None, [], "text", 3, True])
def test_what_is_no_table_is_refused(data: object) -> None:
    with pytest.raises(ConfigError, match="expected a table of keys"):
        parse(Part, data, where="x")


def test_the_caller_chooses_the_error() -> None:
    with pytest.raises(BundleError, match=r"manifest.json lacks the key 'name'"):
        parse(Part, {}, where="manifest.json", error=BundleError)
    with pytest.raises(BundleError, match=r"manifest.json: a part needs a name"):
        parse(Part, {"name": ""}, where="manifest.json", error=BundleError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Circle:
    shape: Literal["circle"] = "circle"
    radius: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    shape: Literal["square"] = "square"
    side: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    shapes: tuple[Circle | Square, ...] = ()
    frame: Circle | Square | None = None


@given(
    shapes=st.lists(
        st.builds(Circle, radius=st.floats(0, 9)) | st.builds(Square, side=st.floats(0, 9))
    ),
    frame=st.none() | st.builds(Square, side=st.floats(0, 9)),
)
def test_dataclasses_of_a_union_are_told_apart_by_their_first_field(
    shapes: list[Circle | Square], frame: Square | None
) -> None:
    drawing = Drawing(shapes=tuple(shapes), frame=frame)
    assert parse(Drawing, to_dict(drawing), where="x") == drawing


def test_without_the_first_field_it_is_the_first_of_the_union() -> None:
    assert parse(Drawing, {"shapes": [{"radius": 2}]}, where="x").shapes == (Circle(radius=2.0),)


def test_a_wrong_name_and_another_ones_key_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"x: frame: shape is 'line'; expected one of circle, sq"):
        parse(Drawing, {"frame": {"shape": "line"}}, where="x")
    with pytest.raises(ConfigError, match=r"x: frame has the unknown key 'radius'"):
        parse(Drawing, {"frame": {"shape": "square", "radius": 1}}, where="x")
