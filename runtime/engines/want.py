"""The engine that is needed: of which part, for which device, for which shapes."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..bundle import Bundle
from ..manifest import PartSpec
from .preflight import Mismatch, builder_text, compare, device_text, explain
from .profiles import Profile, batch_profile, profile_text
from .record import EngineRecord, engine_key
from .target import ANY_GPU, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """An engine that is needed."""

    bundle: Bundle
    part: PartSpec
    target: Target
    batch: int
    """Tiles per call at most, and the number to build it for."""

    @property
    def profile(self) -> Profile:
        """Shapes that the engine must take."""
        return batch_profile(self.part, opt=self.batch, most=self.batch)

    @property
    def onnx_sha256(self) -> str:
        """Hash of the part's graph, against which the bundle was checked."""
        return self.bundle.manifest.files[self.part.file]

    @property
    def name(self) -> str:
        """Bundle and part, for messages."""
        return f"{self.bundle.manifest.name}/{self.part.name}"

    @property
    def key(self) -> str:
        """Key of the engine that is built."""
        return engine_key(self.onnx_sha256, self.target, profile_text(self.profile))

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of engines that do: that of this GPU, then that of any GPU of its kind."""
        if self.target.gpu == ANY_GPU:
            return (self.key,)
        return self.key, replace(self, target=replace(self.target, gpu=ANY_GPU)).key

    def unlike(self, record: EngineRecord) -> tuple[Mismatch, ...]:
        """Compare an engine with this one; nothing if it fits."""
        return compare(
            record,
            onnx_sha256=self.onnx_sha256,
            target=self.target,
            profile=profile_text(self.profile),
        )

    def unlike_nearest(self, records: Iterable[EngineRecord], remedy: str) -> str:
        """Say why the engine of this part that comes nearest does not fit; empty if it has none.

        Args:
            records: Engines to choose from.
            remedy: What to do about it.
        """
        unfit = (record for record in records if self._is_of(record) and self.unlike(record))
        newest = sorted(unfit, key=lambda record: record.created, reverse=True)
        near = min(newest, key=lambda record: len(self.unlike(record)), default=None)
        return "" if near is None else explain(near, self.unlike(near), remedy)

    def _is_of(self, record: EngineRecord) -> bool:
        same_graph = record.onnx_sha256 == self.onnx_sha256
        return same_graph or record.name == self.name

    @property
    def missing(self) -> str:
        """What there is none of, for messages."""
        return (
            f"no engine of {self.name} for {builder_text(self.target)} and "
            f"{device_text(self.target)}"
        )

    @property
    def mend(self) -> str:
        """Commands that build the engine, for messages."""
        path = self.bundle.path
        return (
            f"run `segx infer INPUT --bundle {path} --rebuild auto`, or "
            f"`segx export {path} --engine {self.target.builder}` on this device"
        )
