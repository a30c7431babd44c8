from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.engines.profiles import ShapeRange, batch_profile, check_profile, profile_text
from runtime.errors import ConfigError
from runtime.manifest import PartSpec, TensorSpec


def spec(name: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=shape)


PART = PartSpec(
    name="satellite",
    role="satellite",
    file="satellite.onnx",
    precision="fp16",
    inputs=(spec("satellite", "N", 12, 10, 40, 40), spec("date_mask", "N", 12)),
    outputs=(spec("satellite_logits", "N", 13, 40, 40),),
)


def shapes(least: str, best: str, most: str) -> ShapeRange:
    def shape(text: str) -> tuple[int, ...]:
        return tuple(int(size) for size in text.split("x"))

    return ShapeRange(min=shape(least), opt=shape(best), max=shape(most))


GOOD = {
    "satellite": shapes("1x12x10x40x40", "2x12x10x40x40", "4x12x10x40x40"),
    "date_mask": shapes("1x12", "2x12", "4x12"),
}


def test_a_profile_of_batches_has_every_input_from_one_tile_to_most() -> None:
    assert batch_profile(PART, opt=2, most=4) == GOOD


@given(opt=st.integers(1, 64), more=st.integers(0, 64))
def test_a_profile_of_batches_fits_its_part(opt: int, more: int) -> None:
    check_profile(PART, batch_profile(PART, opt=opt, most=opt + more))


@pytest.mark.parametrize(("opt", "most"), [(2, 1), (0, 1), (1, 0), (-1, -1)])
def test_batches_out_of_order_or_below_one_are_refused(opt: int, most: int) -> None:
    with pytest.raises(ConfigError, match=r"'satellite'.*; expected "):
        batch_profile(PART, opt=opt, most=most)


FAULTS = {
    "an input without shapes": (
        {"satellite": GOOD["satellite"]},
        "no shapes of 'date_mask', an input of part 'satellite'; expected shapes of every input; "
        "add min, opt and max of (N, 12)",
    ),
    "shapes of no input": (
        {**GOOD, "days": GOOD["date_mask"]},
        "shapes of 'days', which part 'satellite' does not take; expected satellite, date_mask",
    ),
    "a size too few": (
        {**GOOD, "date_mask": shapes("1x12", "2", "4x12")},
        "the opt shape of 'date_mask' is (2); expected 2 sizes; give shapes like (N, 12)",
    ),
    "a size too many": (
        {**GOOD, "date_mask": shapes("1x12", "2x12", "4x12x1")},
        "the max shape of 'date_mask' is (4, 12, 1); expected 2 sizes",
    ),
    "another fixed size": (
        {**GOOD, "date_mask": shapes("1x12", "2x12", "4x24")},
        "the max shape of 'date_mask' is (4, 24); expected (N, 12)",
    ),
    "a batch of nothing": (
        {**GOOD, "date_mask": shapes("0x12", "2x12", "4x12")},
        "the min shape of 'date_mask' is (0, 12); expected sizes of at least 1",
    ),
    "opt below min": (
        {**GOOD, "date_mask": shapes("2x12", "1x12", "4x12")},
        "shapes of 'date_mask' are 2x12,1x12,4x12; expected min <= opt <= max in every size",
    ),
    "max below opt": (
        {**GOOD, "date_mask": shapes("1x12", "4x12", "2x12")},
        "shapes of 'date_mask' are 1x12,4x12,2x12; expected min <= opt <= max",
    ),
    "inputs of several batches": (
        {**GOOD, "date_mask": shapes("1x12", "2x12", "8x12")},
        "batches of 'date_mask' are (1, 2, 8), and those of 'satellite' (1, 2, 4); expected the "
        "same in every input",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_profile_that_does_not_fit_is_refused(fault: str) -> None:
    profile, message = FAULTS[fault]
    with pytest.raises(ConfigError) as caught:
        check_profile(PART, profile)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [("N", "T", 12), ("N", 12, "T"), ()])
def test_a_part_with_other_open_sizes_than_the_batch_is_refused(
    shape: tuple[int | str, ...],
) -> None:
    part = replace(PART, inputs=(spec("days", *shape),))
    with pytest.raises(ConfigError, match=r"'days'.*; expected a batch and fixed sizes after it"):
        batch_profile(part)


def test_a_part_with_a_fixed_batch_takes_that_one() -> None:
    part = replace(PART, inputs=(spec("days", 2, 12),))
    assert batch_profile(part, most=8) == {"days": shapes("2x12", "2x12", "2x12")}


def test_the_text_of_a_profile_does_not_depend_on_the_order_of_inputs() -> None:
    turned = dict(reversed(GOOD.items()))
    assert list(turned) != list(GOOD)
    assert profile_text(turned) == profile_text(GOOD)
    assert profile_text(GOOD) == (
        "date_mask 1x12,2x12,4x12; satellite 1x12x10x40x40,2x12x10x40x40,4x12x10x40x40"
    )


@given(
    first=st.tuples(*[st.integers(1, 4)] * 3).map(sorted),
    second=st.tuples(*[st.integers(1, 4)] * 3).map(sorted),
)
def test_texts_are_equal_only_for_equal_profiles(first: list[int], second: list[int]) -> None:
    def profile(sizes: list[int]) -> dict[str, ShapeRange]:
        least, best, most = sizes
        return {"x": ShapeRange(min=(least, 9), opt=(best, 9), max=(most, 9))}

    texts_equal = profile_text(profile(first)) == profile_text(profile(second))
    assert texts_equal == (first == second)
