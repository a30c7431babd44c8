"""Which of its jobs `segx export` is asked for: export, convert, merge, or take a bundle as is."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

if TYPE_CHECKING:
    from exporter.accuracy import Verdict
    from runtime.bundle import Bundle
    from trainkit.checkpoint import Checkpoint

Precision = Literal["fp32", "fp16", "int8"]

Job = Literal["export", "convert", "merge", "take"]
"""A checkpoint in FP32; to FP16 or INT8; parts of a bundle into one; a bundle as it is."""

CONVERSION = ("calibration", "plan", "repair", "gate", "force", "quantize", "seed")
"""How the options begin that only conversions have."""

FOR_ENGINES = ("engine", "engines", "compute_capability", "workspace", "optimization_level")

AS_IT_IS = {"source", "precision", "merge_parts", "deepness", "html", "json", *FOR_ENGINES}
"""What is left to say of a bundle that is taken as it is."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A bundle that is taken as it is, for engines to be built of it."""

    bundle: "Bundle"

    @property
    def verdict(self) -> "Verdict":
        """What its manifest says; nothing is measured again."""
        from exporter.accuracy import Verdict

        manifest = self.bundle.manifest
        return Verdict(verified=manifest.verified, missed=False, text=manifest.verdict)


def choose_job(
    source: "Checkpoint | Bundle", asked: Precision | None, *, merge_parts: bool
) -> tuple[Job, Precision]:
    """Decide what is done, and in which precision.

    Raises:
        BundleError: If a checkpoint, or a bundle of another precision, is to be merged.
        CheckpointError: If a converted bundle is to become one in FP32.
    """
    from runtime.bundle import Bundle
    from runtime.errors import BundleError

    if isinstance(source, Bundle):
        return _of_bundle(source, asked, merge_parts)
    if merge_parts:
        raise BundleError(
            f"{source.path} is a checkpoint; expected a bundle for --merge-parts; export it, then "
            "name the bundle"
        )
    precision = asked or "fp32"
    return ("export" if precision == "fp32" else "convert"), precision


def _of_bundle(
    source: "Bundle", asked: Precision | None, merge_parts: bool
) -> tuple[Job, Precision]:
    from runtime.errors import BundleError, CheckpointError

    own = source.manifest.precision
    precision = asked or own
    if precision == own:
        return ("merge" if merge_parts else "take"), own
    if merge_parts:
        raise BundleError(
            f"{source.path} is a bundle in {own}; expected one in {precision}, since --merge-parts "
            f"takes a bundle as it is; convert it first, or leave out --precision {precision}"
        )
    if precision == "fp32":
        raise CheckpointError(
            f"{source.path} is a bundle in {own}; expected a checkpoint folder for --precision "
            "fp32; name one, or leave the option out to take the bundle as it is"
        )
    return "convert", precision


def refuse_ignored(context: typer.Context, job: Job) -> None:
    """Refuse options that a job has no use for: what was asked for must not be passed over.

    Raises:
        typer.BadParameter: Naming the first.
    """
    for name in context.params:
        found = context.get_parameter_source(name)
        if found is None or found.name != "COMMANDLINE":
            continue
        option = "--eval" if name == "data" else "--" + name.replace("_", "-")
        if job == "export" and name.startswith(CONVERSION):
            raise typer.BadParameter(f"{option} is for --precision fp16 and int8; found fp32")
        if job in ("merge", "take") and name not in AS_IT_IS and (job, name) != ("merge", "out"):
            raise typer.BadParameter(
                f"{option} says nothing to a bundle that is taken as it is; leave it out, or ask "
                "for another --precision"
            )
        if context.params["engine"] == "none" and name in FOR_ENGINES[1:]:
            raise typer.BadParameter(f"{option} says nothing to --engine none")
    written = any(context.params[name] is not None for name in ("deepness", "html"))
    if job == "take" and context.params["engine"] == "none" and not written:
        raise typer.BadParameter(
            "the bundle is taken as it is, and --engine none builds nothing of it; ask for "
            "engines, --html, --deepness, --merge-parts, or another --precision"
        )


def target_path(
    source: "Checkpoint | Bundle", job: Job, precision: str, named: Path | None
) -> Path:
    """Say where a bundle goes."""
    from runtime.bundle import Bundle

    from .console import chosen
    from .export_steps import BUNDLES

    if isinstance(source, Bundle):
        name = source.manifest.model.config
        name = f"{source.manifest.name}-merged" if job == "merge" else f"{name}-{precision}"
    else:
        name = f"{source.info.config}-{precision}"
    target = named or BUNDLES / f"{name}.segx"
    chosen("bundle", target, "" if named else "default")
    return target
