"""Give an engine that fits: from a folder that the user names, from the cache, or built now.

--engines FOLDER  ->  cache: this GPU  ->  cache: any GPU of its kind  ->  build, and keep
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..bundle import Bundle
from ..errors import EngineError
from ..manifest import PartSpec
from .build import OnProgress
from .cache import EngineCache
from .folder import EngineFolder, Found
from .record import EngineRecord
from .source import EngineSource
from .target import Target
from .trust import check_foreign
from .want import Want

_BUILT_NOW = "one that fits is built now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Obtained:
    """An engine to be opened."""

    data: bytes
    """The very bytes that were checked."""
    record: EngineRecord
    built: bool
    """Whether it was built now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An engine that lies ready."""

    record: EngineRecord
    path: Path
    """The engine's file."""
    built: bool
    """Whether it was built now."""


def obtain(
    bundle: Bundle, part: PartSpec, target: Target, *, batch: int, source: EngineSource
) -> Obtained:
    """Give the engine of a part for a device.

    Args:
        bundle: Opened bundle.
        part: One of its parts.
        target: Builder and device.
        batch: Tiles per call; the engine takes 1 to this many.
        source: Where it may come from.

    Raises:
        EngineError: If a folder is not trusted or an engine in it is damaged; if no engine fits and
            none may be built; or if building fails.
    """
    want = Want(bundle=bundle, part=part, target=target, batch=batch)
    source.cache.check(trusted=source.policy.trust_folder)
    ready = _from_folder(want, source) or _from_cache(want, source)
    if ready is not None:
        return Obtained(data=ready.data, record=ready.record, built=False)
    with source.alone(want):
        # Another process may have built it while this one waited.
        ready = _intact(source.cache, want)
        made = ready or source.make(want)
        if ready is None:
            _keep(made, source)
    return Obtained(data=made.data, record=made.record, built=ready is None)


def _from_folder(want: Want, source: EngineSource) -> Found | None:
    """Take an engine from the folder that the user names; a note says why none fits."""
    path = source.policy.folder
    if path is None:
        return None
    check_foreign(path, trusted=source.policy.trust_folder)
    folder = EngineFolder(path)
    found = _fitting(folder, want)
    if found is None:
        why = want.unlike_nearest(folder.records(), "the engine cache is used")
        source.note(why or f"{path} holds {want.missing}; expected one; the engine cache is used")
    return found


def _from_cache(want: Want, source: EngineSource) -> Found | None:
    """Take an engine from the cache; else a note, or the error, says why none fits."""
    never = source.policy.rebuild == "never"
    try:
        found = _fitting(source.cache, want)
    except EngineError as error:
        if never:
            raise EngineError(_with_remedy(error, want.mend)) from error
        source.note(_with_remedy(error, _BUILT_NOW))
        return None
    if found is not None:
        return found
    why = want.unlike_nearest(source.cache.records(), want.mend if never else _BUILT_NOW)
    if never:
        raise EngineError(
            why
            or f"{source.cache.root} holds {want.missing}; expected one, since none may be "
            f"built; {want.mend}"
        )
    if why:
        source.note(why)
    return None


def _fitting(store: EngineCache | EngineFolder, want: Want) -> Found | None:
    """Read the engine that fits, if there is one; raises EngineError if it is damaged."""
    for key in want.keys:
        found = store.find(key)
        # The key leaves the platform out: one folder may serve several machines.
        if found is not None and not want.unlike(found.record):
            return found
    return None


def _with_remedy(error: EngineError, remedy: str) -> str:
    """Say of a damaged engine of the cache what mends it here, in place of what does anywhere."""
    return f"{str(error).rpartition(';')[0]}; {remedy}"


def _intact(store: EngineCache | EngineFolder, want: Want) -> Found | None:
    """Read the engine that fits, if there is one and it is not damaged."""
    with suppress(EngineError):
        return _fitting(store, want)
    return None


def _keep(made: Found, source: EngineSource) -> None:
    try:
        source.cache.store(made.record, made.data)
    except EngineError as error:
        source.note(f"{error}; until then engines are built in every run")


def build_all(
    bundle: Bundle,
    targets: Sequence[Target],
    *,
    batch: int,
    source: EngineSource,
    out: Path | None = None,
    force: bool = False,
) -> tuple[Prepared, ...]:
    """Build every part of a bundle, both variants of its end, for every target.

    Args:
        bundle: Opened bundle.
        targets: Builders and devices.
        batch: Tiles per call; the engines take 1 to this many.
        source: The cache, how to build, and who is told; progress counts engines.
        out: Folder to keep the engines in; the cache if None.
        force: Build those that are there, too.

    Returns:
        The engines, by target, in the order of the parts.

    Raises:
        EngineError: If one cannot be built or kept; those before it are there then.
    """
    source.cache.check(trusted=source.policy.trust_folder)
    folder = source.cache.engines if out is None else EngineFolder(out)
    store = source.cache if out is None else folder
    wants = [
        Want(bundle=bundle, part=part, target=target, batch=batch)
        for target in targets
        for part in bundle.manifest.parts
    ]
    prepared = []
    for number, want in enumerate(wants):
        label = f"{want.name} for {want.target.sm}"
        source.on_progress(number, len(wants), label)
        inner = _within(source.on_progress, number, len(wants), label)
        found, built = _prepare(want, replace(source, on_progress=inner), store, force=force)
        path = folder.path / found.record.file
        prepared.append(Prepared(record=found.record, path=path, built=built))
    source.on_progress(len(wants), len(wants), "")
    return tuple(prepared)


def _prepare(
    want: Want, source: EngineSource, store: EngineCache | EngineFolder, *, force: bool
) -> tuple[Found, bool]:
    """Give the engine that lies ready, or build it; the second value says which."""
    with source.alone(want):
        try:
            ready = None if force else _fitting(store, want)
        except EngineError as error:
            source.note(_with_remedy(error, _BUILT_NOW))
            ready = None
        if ready is not None:
            return ready, False
        made = source.make(want)
        store.store(made.record, made.data)
        return made, True


def _within(on_progress: OnProgress, number: int, total: int, label: str) -> OnProgress:
    """Show the progress of one build behind the count of engines."""

    def inner(done: int, of: int, note: str) -> None:
        on_progress(number, total, f"{label}: {note}" if note else label)

    return inner
