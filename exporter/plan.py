"""Say in which precision each branch of a model is to run.

    fp16    every branch in FP16
    int8    aerial branches in INT8, where nearly all of the work is; the others in FP16
    own     aerial=int8,satellite=fp16,fusion=fp32

A branch is a part by its name; the variants of the fusion are one branch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import get_args

from runtime.errors import ConfigError
from runtime.manifest import PartSpec, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a branch is converted."""

    precision: Precision
    keep: frozenset[str] = frozenset()
    """Nodes that stay in FP32 beside those whose ranges ask for it."""
    skip: frozenset[str] = frozenset()
    """Nodes that are not quantised to INT8; they run in FP16."""

    def with_nodes(self, *, keep: Iterable[str] = (), skip: Iterable[str] = ()) -> "Recipe":
        """Keep more nodes in higher precision."""
        return replace(self, keep=self.keep | set(keep), skip=self.skip | set(skip))


Plan = Mapping[str, Recipe]
"""Recipe by branch."""


def branch_of(part: PartSpec) -> str:
    """Branch that a part belongs to."""
    return "fusion" if part.role == "fusion" else part.name


def branches(parts: Iterable[PartSpec]) -> tuple[str, ...]:
    """Branches of a model, in order."""
    return tuple(dict.fromkeys(map(branch_of, parts)))


def make_plan(
    parts: Iterable[PartSpec], precision: Precision, asked: Mapping[str, Precision] | None = None
) -> dict[str, Recipe]:
    """Give every branch its precision: that of the plan asked for, else that of the bundle.

    INT8 goes to the aerial branches; where there are none, to the satellite branch.

    Raises:
        ConfigError: If the plan names a branch that the model has not, or its lowest precision is
            not that of the bundle.
    """
    known = {branch_of(part): part.role for part in parts}
    unknown = sorted(set(asked or {}) - set(known))
    if unknown:
        raise ConfigError(
            f"the plan names {unknown[0]}; expected some of {', '.join(known)}; change --plan"
        )
    quantized = "aerial" if "aerial" in known.values() else "satellite"
    chosen: dict[str, Recipe] = {}
    for branch, role in known.items():
        default: Precision = "fp16" if precision == "int8" and role != quantized else precision
        chosen[branch] = Recipe(precision=(asked or {}).get(branch, default))
    if precision_of(chosen) != precision:
        raise ConfigError(
            f"the plan {describe_plan(chosen)} is one in {precision_of(chosen)}; expected "
            f"{precision} as the bundle is to be called; change --plan or --precision"
        )
    return chosen


def parse_plan(text: str) -> dict[str, Precision]:
    """Read a plan such as `aerial=int8,satellite=fp16`.

    Raises:
        ConfigError: If it is not of this form.
    """
    plan: dict[str, Precision] = {}
    for item in text.split(","):
        branch, _, precision = (word.strip() for word in item.partition("="))
        if not branch or precision not in get_args(Precision) or branch in plan:
            raise ConfigError(
                f"the plan says {item.strip()!r}; expected BRANCH=PRECISION once for each branch, "
                f"with {', '.join(get_args(Precision))}; change --plan"
            )
        plan[branch] = precision  # type: ignore[assignment]
    return plan


def describe_plan(plan: Plan) -> str:
    """Say a plan in one line, as `--plan` takes it."""
    return ",".join(f"{branch}={recipe.precision}" for branch, recipe in plan.items())


def precision_of(plan: Plan) -> Precision:
    """The lowest precision of a plan, which a bundle is named after."""
    found = {recipe.precision for recipe in plan.values()}
    order: tuple[Precision, ...] = ("int8", "fp16", "fp32")
    return next(precision for precision in order if precision in found)
