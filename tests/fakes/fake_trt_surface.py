"""Classes with exactly the names of one TensorRT, from a surface file and templates of behaviour.

A template is an ordinary class that holds the behaviour of all generations. The class made from it
has only the members that the surface lists, and every touch of another name is recorded.
"""

import dis
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from types import FrameType, FunctionType
from typing import Any, NamedTuple, cast

SURFACES = Path(__file__).parent / "surfaces"
DIRECT = {"LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR", "IMPORT_FROM"}
PASSED_THROUGH = {"fake_trt_surface", "fake_tensorrt", "polygraphy.mod.importer"}
"""Modules that fetch names for somebody else; the somebody is blamed."""
CONTEXT_MANAGERS = (
    "Builder",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILogger",
    "INetworkDefinition",
    "OnnxParser",
    "Runtime",
)
"""Classes on which the Python package defines `with`, deprecated since TensorRT 8."""


class Touch(NamedTuple):
    """A name that was asked for and that the surface lacks."""

    name: str
    module: str
    """Who asked."""


class Call(NamedTuple):
    name: str
    """Class and method; for a property that was set, `Class.property=`."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Surface:
    """The public names of one version of one library."""

    module: str
    version: str
    classes: Mapping[str, list[str]]
    bases: Mapping[str, str]
    enums: Mapping[str, dict[str, int]]
    constants: Mapping[str, str | int]
    functions: list[str]


def load_surface(version: str) -> Surface:
    """Read the surface of a version, such as `10.3.0` or `1.7.1.116`."""
    files = sorted(SURFACES.glob(f"*-{version}.json"))
    if not files:
        known = sorted(file.stem.rpartition("-")[2] for file in SURFACES.glob("*.json"))
        raise ValueError(f"no surface of version {version}; there are {', '.join(known)}")
    content = json.loads(files[0].read_text(encoding="utf-8"))
    return Surface(**{key: content[key] for key in Surface.__dataclass_fields__})


def surface_versions() -> list[str]:
    """Versions that there are surfaces of."""
    return sorted(file.stem.rpartition("-")[2] for file in SURFACES.glob("*.json"))


class FakeMeta(type):
    """Class of all fake classes: records missing members, and refuses half-made objects."""

    trt: Any

    def __getattr__(cls, name: str) -> Any:
        if not name.startswith("_"):
            cls.trt.touched(f"{cls.__name__}.{name}")
        raise AttributeError(f"type object '{cls.trt.__name__}.{cls.__name__}' has no '{name}'")

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        native = next(kind for kind in cls.__mro__ if "is_native" in vars(kind))
        if cls is not native and not vars(made).get("_constructed", False):
            raise TypeError(
                f"{cls.trt.__name__}.{native.__name__}.__init__() must be called when overriding "
                "__init__"
            )
        return made


class FakeObject:
    """Base of all fake objects: records missing members."""

    trt: Any
    _logger: Any = None

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            self._touched(name)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        known = name.startswith("_") or defines(type(self), name)
        if "is_native" in vars(type(self)) and not known:
            self._touched(name)
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        object.__setattr__(self, name, value)

    def _touched(self, name: str) -> None:
        # A subclass in the code under test may have members of its own.
        if "is_native" in vars(type(self)):
            self.trt.touched(f"{type(self).__name__}.{name}")

    def _log(self, severity: str, text: str) -> None:
        self.trt.log(self._logger, severity, text)


class Unbuilt:
    """A member that the surface has and the fake has no behaviour for."""

    def __init__(self, owner: str, name: str) -> None:
        self._what = f"{owner}.{name}"

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is None:
            return self
        raise NotImplementedError(f"the fake has no {self._what}; add it to its template")

    def __set__(self, instance: object, value: Any) -> None:
        raise NotImplementedError(f"the fake has no {self._what}; add it to its template")


def defines(kind: type, name: str) -> bool:
    """Whether a class has a member, without asking for it."""
    return any(name in vars(parent) for parent in kind.__mro__)


def caller() -> tuple[str, bool]:
    """Name the module that asks for a name, and whether by `x.name` rather than by hasattr."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") in PASSED_THROUGH:
        frame = frame.f_back
    if frame is None:
        return "?", True
    operation = dis.opname[frame.f_code.co_code[frame.f_lasti]]
    return str(frame.f_globals.get("__name__")), operation in DIRECT


def build_class(trt: Any, name: str, base: type | None, template: type | None) -> type:
    """Make one class of the module: the surface's members, with the template's behaviour."""
    surface: Surface = trt.surface
    namespace: dict[str, Any] = {"trt": trt, "is_native": True, "__module__": surface.module}
    own = vars(template) if template is not None else {}
    for member in surface.classes[name]:
        constant = surface.constants.get(f"{name}.{member}")
        if isinstance(constant, int):
            namespace[member] = constant
        elif member in own:
            namespace[member] = wrapped(trt, f"{name}.{member}", own[member])
        elif base is None or not defines(base, member):
            namespace[member] = Unbuilt(name, member)
    for member, value in private(own):
        namespace[member] = value
    if "__init__" in own:
        namespace["__init__"] = constructor(trt, name, own["__init__"])
    elif base is None or base is FakeObject:
        namespace["__init__"] = no_constructor(surface.module, name, known=template is not None)
    if name in CONTEXT_MANAGERS:
        namespace |= {"__enter__": common_enter, "__exit__": common_exit}
    bases = (base or FakeObject, *extra_bases(template))
    return FakeMeta(name, bases, namespace)


def private(own: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Members of a template that belong to the fake, not to the surface."""
    skipped = {"__dict__", "__weakref__", "__module__", "__qualname__", "__init__"}
    for member, value in own.items():
        if member.startswith("_") and member not in skipped:
            yield member, value


def extra_bases(template: type | None) -> tuple[type, ...]:
    """Built-in types that a template needs, such as `bytes` for the buffer protocol."""
    return () if template is None else tuple(b for b in template.__bases__ if b is not object)


def wrapped(trt: Any, label: str, value: Any) -> Any:
    """Let a method or property of a template record its calls and fail as told."""
    if isinstance(value, FunctionType):
        return recorded(trt, label, value)
    if isinstance(value, property):
        getter = recorded(trt, label, value.fget, note=False) if value.fget else None
        setter = recorded(trt, f"{label}=", value.fset) if value.fset else None
        return property(getter, setter)
    return value


def recorded(
    trt: Any, label: str, function: Callable[..., Any], *, note: bool = True
) -> Callable[..., Any]:
    @wraps(function)
    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        if note:
            kept = {key: noted(value) for key, value in kwargs.items()}
            trt.calls.append(Call(label, tuple(noted(value) for value in args), kept))
        failure = trt.failure_of(label)
        if failure is None:
            return function(self, *args, **kwargs)
        if failure.message:
            self._log("ERROR", failure.message)
        if failure.raises is not None:
            raise failure.raises
        return failure.returns

    return called


def noted(value: Any) -> Any:
    """What a record of calls keeps of an argument: nothing that holds device memory or a file."""
    if isinstance(value, FakeObject) and not isinstance(value, FakeEnum):
        return f"<{type(value).__name__}>"
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else value


def constructor(trt: Any, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        self._constructed = True
        trt.calls.append(Call(name, tuple(noted(value) for value in args), {}))
        failure = trt.failure_of(name)
        if failure is not None:
            trt.log(kwargs.get("logger", args[-1] if args else None), "ERROR", failure.message)
            raise failure.raises or TypeError("pybind11::init(): factory function returned nullptr")
        function(self, *args, **kwargs)

    return init


def no_constructor(module: str, name: str, *, known: bool) -> Callable[..., Any]:
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        if known:
            raise TypeError(f"{module}.{name}: No constructor defined!")
        raise NotImplementedError(f"the fake has no behaviour for {name}")

    return init


def common_enter(this: Any) -> Any:
    warnings.warn(
        "Context managers for TensorRT types are deprecated. "
        "Memory will be freed automatically when the reference count reaches 0.",
        DeprecationWarning,
        stacklevel=2,
    )
    return this


def common_exit(this: Any, *error: object) -> None:
    """Do nothing, as the real one."""


def build_enum(trt: Any, name: str, members: Mapping[str, int], extra: Mapping[str, Any]) -> type:
    """Make an enum as pybind11 does: members equal only themselves, and convert to int."""
    short = name.rpartition(".")[2]
    namespace = {"trt": trt, "is_native": True, "__module__": trt.surface.module}
    kind = FakeMeta(short, (FakeEnum,), {**namespace, **extra})
    made: dict[str, Any] = {key: object.__new__(cast(type, kind)) for key in members}
    for key, member in made.items():
        vars(member).update(_name=key, _value=members[key])
        type.__setattr__(kind, key, member)
    type.__setattr__(kind, "__members__", made)
    return kind


class FakeEnum(FakeObject):
    """One member of an enum."""

    _name: str
    _value: int

    @property
    def name(self) -> str:
        return self._name

    @property
    def value(self) -> int:
        return self._value

    def __int__(self) -> int:
        return self._value

    __index__ = __int__

    def __lt__(self, other: "FakeEnum") -> bool:
        return self._value < other._value if type(self) is type(other) else NotImplemented

    def __le__(self, other: "FakeEnum") -> bool:
        return self._value <= other._value if type(self) is type(other) else NotImplemented

    def __deepcopy__(self, memo: object) -> "FakeEnum":
        return self

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self._name}"

    def __repr__(self) -> str:
        return f"<{self}: {self._value}>"
