"""Turn mappings read from TOML or JSON into frozen dataclasses, and back.

Supported field types: `str`, `int`, `float`, `bool`, `Literal`, `X | None`, `tuple[X, ...]`,
`tuple[X, Y]`, `dict[str, X]`, unions of these, `object` and nested dataclasses. Dataclasses of a
union have the same first field, a `Literal` of one value each, by which they are told apart; where
the key is missing, it is the first of them.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from .errors import ConfigError, SegxError

T = TypeVar("T")

Unknown = Literal["error", "ignore"]
"""What to do with a key that the dataclass lacks."""


def parse(
    cls: type[T],
    data: object,
    *,
    where: str,
    unknown: Unknown = "error",
    error: type[SegxError] = ConfigError,
) -> T:
    """Build the dataclass `cls` from a mapping.

    Args:
        cls: A dataclass; nested dataclasses are built too.
        data: Mapping as read from TOML or JSON.
        where: Name of the source for messages, such as a path.
        unknown: Whether a key that `cls` lacks is an error or is passed over.
        error: Class of the error raised.

    Raises:
        SegxError: `error`, naming the key that is missing, mistyped or unknown (and the nearest
            known one).
    """
    return typing.cast(T, _Parser(unknown, error).build(cls, data, where))


def to_dict(value: object) -> Any:
    """Turn a dataclass into plain dictionaries, lists and scalars, as JSON and TOML hold them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_dict(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): to_dict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_dict(item) for item in value]
    return value


@dataclasses.dataclass(frozen=True)
class _Parser:
    unknown: Unknown
    error: type[SegxError]

    def build(self, cls: type[Any], data: object, where: str) -> Any:
        if not isinstance(data, Mapping):
            raise self.error(f"{where} holds {_shown(data)}; expected a table of keys")
        hints = typing.get_type_hints(cls)
        fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
        if self.unknown == "error":
            self._refuse_unknown(set(map(str, data)) - set(fields), sorted(fields), where)
        values = {}
        for name, field in fields.items():
            if name in data:
                values[name] = self.convert(hints[name], data[name], f"{where}: {name}")
            elif _required(field):
                raise self.error(f"{where} lacks the key '{name}'; add it")
        try:
            return cls(**values)
        except (ValueError, TypeError) as cause:
            raise self.error(f"{where}: {cause}") from cause

    def _refuse_unknown(self, keys: set[str], known: list[str], where: str) -> None:
        for key in sorted(keys):
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            hint = f"did you mean '{near[0]}'?" if near else "remove it"
            raise self.error(f"{where} has the unknown key {_shown(key)}; {hint}")

    def convert(self, hint: Any, value: object, where: str) -> Any:
        origin = get_origin(hint)
        if hint in (Any, object):
            return value
        if origin in (Union, types.UnionType):
            return self._union(get_args(hint), value, where)
        if origin is Literal:
            return self._literal(get_args(hint), value, where)
        if origin is tuple:
            return self._tuple(get_args(hint), value, where)
        if origin is dict:
            return self._dict(get_args(hint)[1], value, where)
        if dataclasses.is_dataclass(hint):
            return self.build(typing.cast(type, hint), value, where)
        return self._scalar(hint, value, where)

    def _union(self, hints: tuple[Any, ...], value: object, where: str) -> Any:
        if value is None and type(None) in hints:
            return None
        candidates = [hint for hint in hints if hint is not type(None)]
        if len(candidates) > 1 and all(map(dataclasses.is_dataclass, candidates)):
            return self._tagged(candidates, value, where)
        for hint in candidates[:-1]:
            try:
                return self.convert(hint, value, where)
            except self.error:
                continue
        return self.convert(candidates[-1], value, where)

    def _tagged(self, classes: list[type[Any]], value: object, where: str) -> Any:
        """Choose among dataclasses by their first field, whose only value names the dataclass."""
        key = dataclasses.fields(classes[0])[0].name
        by_tag = {get_args(typing.get_type_hints(cls)[key])[0]: cls for cls in classes}
        if not isinstance(value, Mapping) or key not in value:
            return self.build(classes[0], value, where)
        tag = self._literal(tuple(by_tag), value[key], f"{where}: {key}")
        return self.build(by_tag[tag], value, where)

    def _literal(self, allowed: tuple[Any, ...], value: object, where: str) -> Any:
        # `in` alone would let True pass for 1.
        if not any(type(value) is type(item) and value == item for item in allowed):
            names = ", ".join(map(str, allowed))
            raise self.error(f"{where} is {_shown(value)}; expected one of {names}")
        return value

    def _tuple(self, hints: tuple[Any, ...], value: object, where: str) -> Any:
        if not isinstance(value, (list, tuple)):
            raise self.error(f"{where} is {_shown(value)}; expected a list")
        if len(hints) == 2 and hints[1] is Ellipsis:
            hints = (hints[0],) * len(value)
        if len(hints) != len(value):
            raise self.error(f"{where} has {len(value)} values; expected {len(hints)}")
        return tuple(
            self.convert(hint, item, f"{where}[{i}]")
            for i, (hint, item) in enumerate(zip(hints, value, strict=True))
        )

    def _dict(self, hint: Any, value: object, where: str) -> Any:
        if not isinstance(value, Mapping):
            raise self.error(f"{where} is {_shown(value)}; expected a table of keys")
        return {str(key): self.convert(hint, item, f"{where}.{key}") for key, item in value.items()}

    def _scalar(self, hint: Any, value: object, where: str) -> Any:
        if hint is float and isinstance(value, int) and not isinstance(value, bool):
            try:
                return float(value)
            except OverflowError as cause:
                message = f"{where} is {_shown(value)}; expected a number below 1e308"
                raise self.error(message) from cause
        if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
            raise self.error(f"{where} is {_shown(value)}; expected {hint.__name__}")
        return value


def _required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
