"""A plan gives every branch a precision, and says itself in the words it is read from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.plan import Recipe, branches, describe_plan, make_plan, parse_plan
from runtime.errors import ConfigError
from runtime.manifest import PartSpec, Precision, Role, Variant


def part(name: str, role: Role, variant: Variant | None = None) -> PartSpec:
    return PartSpec(
        name=name,
        role=role,
        file=f"{name}.onnx",
        precision="fp32",
        inputs=(),
        outputs=(),
        variant=variant,
    )


PARTS = (
    part("aerial", "aerial"),
    part("aerial_2", "aerial"),
    part("satellite", "satellite"),
    part("fusion", "fusion", "classes"),
    part("fusion_probabilities", "fusion", "probabilities"),
)
PRECISIONS = st.sampled_from(["fp32", "fp16", "int8"])


def test_the_variants_of_the_fusion_are_one_branch() -> None:
    assert branches(PARTS) == ("aerial", "aerial_2", "satellite", "fusion")


def test_int8_goes_to_the_aerial_branches_and_fp16_to_the_rest() -> None:
    plan = make_plan(PARTS, "int8")
    assert [recipe.precision for recipe in plan.values()] == ["int8", "int8", "fp16", "fp16"]
    assert {recipe.precision for recipe in make_plan(PARTS, "fp16").values()} == {"fp16"}


@given(st.dictionaries(st.sampled_from(branches(PARTS)), PRECISIONS, min_size=1), PRECISIONS)
def test_a_plan_is_read_as_it_is_described(
    asked: dict[str, Precision], precision: Precision
) -> None:
    try:
        plan = make_plan(PARTS, precision, asked)
    except ConfigError:
        lowest = max(asked.values(), key=["fp32", "fp16", "int8"].index)
        assert precision != lowest
        return
    assert {b: plan[b].precision for b in asked} == asked
    assert make_plan(PARTS, precision, parse_plan(describe_plan(plan))) == plan


@pytest.mark.parametrize("text", ["", "aerial", "aerial=int4", "aerial=int8,aerial=fp16", "=fp16"])
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected BRANCH=PRECISION once .* change --plan"):
        parse_plan(text)


def test_a_branch_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="names head; expected some of aerial, aerial_2, satell"):
        make_plan(PARTS, "fp16", {"head": "fp32"})


def test_a_plan_of_another_precision_than_the_bundle_is_refused() -> None:
    everywhere: dict[str, Precision] = dict.fromkeys(branches(PARTS), "fp32")
    with pytest.raises(ConfigError, match="is one in fp32; expected int8 as the bundle is to be"):
        make_plan(PARTS, "int8", everywhere)
    with pytest.raises(ConfigError, match="is one in int8; expected fp16"):
        make_plan(PARTS, "fp16", {"aerial": "int8"})


def test_without_an_aerial_branch_int8_goes_to_the_satellite() -> None:
    plan = make_plan((PARTS[2], PARTS[3]), "int8")
    assert [recipe.precision for recipe in plan.values()] == ["int8", "fp16"]


def test_nodes_are_added_to_a_recipe() -> None:
    recipe = Recipe(precision="int8", keep=frozenset({"a"})).with_nodes(keep=["b"], skip=["c"])
    assert sorted(recipe.keep) == ["a", "b"]
    assert sorted(recipe.skip) == ["c"]
