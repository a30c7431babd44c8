"""Open a bundle or a checkpoint in the same way, and say how it is run."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .console import Advance, chosen, progress
from .options import RunFlags

if TYPE_CHECKING:
    from runtime.bundle import Bundle
    from runtime.card import ModelCard, TileRunner
    from runtime.ladder import Opened, RunRequest
    from runtime.manifest import Variant
    from runtime.robustness import Blank
    from runtime.tally import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyModel:
    """A bundle or a checkpoint that is ready to run."""

    card: "ModelCard"
    model: "TileRunner"
    origin: str
    """What it is, in a few words."""
    opened: "Opened | None"
    """How it was opened; None for a checkpoint."""
    blank: "Blank"
    """Puts zeros in place of what its satellite branch gives."""

    def tally(self) -> "Tally":
        """Count what a run does."""
        from runtime.tally import Tally

        return Tally(None) if self.opened is None else Tally.of(self.opened)

    def close(self) -> None:
        """Give memory back."""
        if self.opened is not None:
            self.opened.model.close()

    def execution(self) -> dict[str, object]:
        """What runs it, for a JSON file."""
        if self.opened is None:
            return {"backend": "pytorch", "precision": self.model.precision}
        from runtime.tally import reasons_by_name

        choice = self.opened.choice
        return {
            "backend": choice.name,
            "device": choice.device,
            "precision": self.model.precision,
            "passed_over": reasons_by_name(choice),
            "self_test": self.opened.self_test,
        }


def open_and_say(bundle: "Bundle", request: "RunRequest", *, name: str = "backend") -> "Opened":
    """Open a bundle; print with what, why, and how far the building of engines is.

    Args:
        bundle: The bundle.
        request: How to open it.
        name: What the printed line begins with.

    Raises:
        SegxError: If it cannot be opened as requested.
    """
    from runtime.ladder import Watch, open_best

    with ExitStack() as stack:
        bars: list[Advance] = []

        def advance(done: int, total: int, note: str) -> None:
            if not bars:  # most runs build nothing, and show no bar
                bars.append(stack.enter_context(progress("engines")))
            bars[0](done, total, note)

        watch = Watch(on_progress=advance, note=lambda text: chosen("engines", text))
        opened = open_best(bundle, request, watch)
    _say_backend(name, opened)
    return opened


def _say_backend(name: str, opened: "Opened") -> None:
    choice = opened.choice
    names: dict[str, list[str]] = {}
    for item in choice.passed_over:
        names.setdefault(item.reason, []).append(item.name)
    reasons = [f"{', '.join(those)}: {reason}" for reason, those in names.items()]
    executed = f"{choice.name} on {choice.device}, {opened.model.precision}"
    chosen(name, executed, reasons[0] if len(reasons) == 1 else choice.reason)
    for reason in reasons if len(reasons) > 1 else ():
        chosen("passed over", reason)
    if opened.self_test.skipped:
        chosen("self-test", "skipped", "asked for")


def open_any(
    path: Path, flags: RunFlags, *, variant: "Variant" = "classes", factory: str = ""
) -> AnyModel:
    """Open a model by its folder.

    Args:
        path: Folder of a bundle or a checkpoint.
        flags: How a bundle is to be run.
        variant: What the model is to end in.
        factory: The code that makes a checkpoint's module, which the user named.

    Raises:
        BundleError: If it is a bundle that cannot be read.
        CheckpointError: If it is a checkpoint that cannot be read.
        ConfigError: If it is a checkpoint, and options for bundles were given.
        BackendError: If it is a checkpoint and PyTorch is not installed.
        SegxError: If it is a bundle that cannot be opened as it was asked for.
    """
    from runtime.manifest import MANIFEST_NAME

    if (path / MANIFEST_NAME).is_file() or path.suffix == ".segx":
        from runtime.bundle import open_bundle
        from runtime.model import without_satellite

        refuse_factory(path, factory)
        request = flags.request(variant=variant)
        bundle = open_bundle(path)
        opened = open_and_say(bundle, request)
        return AnyModel(
            card=bundle.card,
            model=opened.model,
            origin="bundle",
            opened=opened,
            blank=lambda feed: without_satellite(opened.model.parts, feed, len(feed["aerial"])),
        )
    return _open_checkpoint(path, flags, variant, factory)


def refuse_factory(bundle: Path, factory: str) -> None:
    """Refuse code for a bundle, which holds all it needs.

    Raises:
        ConfigError: If some was named.
    """
    if factory:
        from runtime.errors import ConfigError

        raise ConfigError(
            f"{bundle} is a bundle, which needs no code, and --factory {factory} was given; "
            "expected that with a checkpoint; leave it out"
        )


def _open_checkpoint(path: Path, flags: RunFlags, variant: "Variant", factory: str) -> AnyModel:
    from runtime.errors import CheckpointError, ConfigError

    from .extras import require

    if not path.is_dir():
        raise CheckpointError(
            f"{path} is no folder; expected a bundle or a checkpoint folder; check the path"
        )
    if flags.given:
        raise ConfigError(
            f"{path} is a checkpoint, which PyTorch runs, and {', '.join(flags.given)} was given; "
            "expected that with a bundle only; leave it out or export the checkpoint"
        )
    require("train", "a checkpoint")
    from trainkit.checkpoint import load_checkpoint
    from trainkit.torch_model import TorchModel

    checkpoint = load_checkpoint(path, factory=factory)
    model = TorchModel(checkpoint.model, variant=variant)
    return AnyModel(
        card=checkpoint.card,
        model=model,
        origin="checkpoint, PyTorch, fp32",
        opened=None,
        blank=model.without_satellite,
    )
