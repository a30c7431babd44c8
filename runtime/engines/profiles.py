"""Shapes that an engine must take: the smallest, the usual and the largest of every input."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import ConfigError
from ..manifest import PartSpec, TensorSpec

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeRange:
    """Shapes of an input; the batch comes first and alone may differ."""

    min: Shape
    opt: Shape
    """The shape that the engine is made fast for."""
    max: Shape


Profile = dict[str, ShapeRange]
"""Shapes by input."""


def batch_profile(part: PartSpec, *, opt: int = 1, most: int = 1) -> Profile:
    """Make the profile for batches of 1 to `most` tiles.

    Args:
        part: Part with inputs in which the batch is the only size left open.
        opt: Batch that the engine is made fast for.
        most: Largest batch.

    Raises:
        ConfigError: If the batches or the part do not allow that.
    """
    profile = {
        spec.name: ShapeRange(
            min=spec.with_batch(1), opt=spec.with_batch(opt), max=spec.with_batch(most)
        )
        for spec in part.inputs
    }
    check_profile(part, profile)
    return profile


def check_profile(part: PartSpec, profile: Mapping[str, ShapeRange]) -> None:
    """Refuse a profile that a part cannot be built for.

    Raises:
        ConfigError: If an input has no shapes, shapes are of no input or do not fit it, or the
            inputs differ in batch.
    """
    inputs = {spec.name: spec for spec in part.inputs}
    if unknown := sorted(set(profile) - set(inputs)):
        raise ConfigError(
            f"the profile has shapes of '{unknown[0]}', which part '{part.name}' does not take; "
            f"expected {', '.join(inputs)}; remove it"
        )
    for name, spec in inputs.items():
        if name not in profile:
            raise ConfigError(
                f"the profile has no shapes of '{name}', an input of part '{part.name}'; expected "
                f"shapes of every input; add min, opt and max of {_shown(spec.shape)}"
            )
        _check_free(part, spec)
        _check_range(spec, profile[name])
    _check_batches(part, profile)


def _check_free(part: PartSpec, spec: TensorSpec) -> None:
    if not spec.shape or any(isinstance(size, str) for size in spec.shape[1:]):
        raise ConfigError(
            f"'{spec.name}' of part '{part.name}' has the shape {_shown(spec.shape)}; expected a "
            "batch and fixed sizes after it; export the bundle again"
        )


def _check_range(spec: TensorSpec, shapes: ShapeRange) -> None:
    for label, shape in (("min", shapes.min), ("opt", shapes.opt), ("max", shapes.max)):
        if len(shape) != len(spec.shape):
            raise _wrong(spec, label, shape, f"{len(spec.shape)} sizes")
        for found, size in zip(shape, spec.shape, strict=True):
            if isinstance(size, int) and found != size:
                raise _wrong(spec, label, shape, _shown(spec.shape))
        if min(shape) < 1:
            raise _wrong(spec, label, shape, "sizes of at least 1")
    if not all(a <= b <= c for a, b, c in zip(shapes.min, shapes.opt, shapes.max, strict=True)):
        raise ConfigError(
            f"shapes of '{spec.name}' are {_range_text(shapes)}; expected min <= opt <= max in "
            "every size; put them in order"
        )


def _wrong(spec: TensorSpec, label: str, shape: Shape, expected: str) -> ConfigError:
    return ConfigError(
        f"the {label} shape of '{spec.name}' is {_shown(shape)}; expected {expected}; give shapes "
        f"like {_shown(spec.shape)}"
    )


def _check_batches(part: PartSpec, profile: Mapping[str, ShapeRange]) -> None:
    batches = {
        spec.name: (profile[spec.name].min[0], profile[spec.name].opt[0], profile[spec.name].max[0])
        for spec in part.inputs
        if isinstance(spec.shape[0], str)
    }
    first = next(iter(batches.items()), ("", ()))
    for name, found in batches.items():
        if found != first[1]:
            raise ConfigError(
                f"batches of '{name}' are {_shown(found)}, and those of '{first[0]}' "
                f"{_shown(first[1])}; expected the same in every input; give all of part "
                f"'{part.name}' one batch"
            )


def profile_text(profile: Mapping[str, ShapeRange]) -> str:
    """Write a profile in one line, the same whatever the order of its inputs."""
    return "; ".join(f"{name} {_range_text(profile[name])}" for name in sorted(profile))


def _range_text(shapes: ShapeRange) -> str:
    return ",".join("x".join(map(str, shape)) for shape in (shapes.min, shapes.opt, shapes.max))


def _shown(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
