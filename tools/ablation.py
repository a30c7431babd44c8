"""Train several configs on the same data and write one table: mIoU, IoU of each class, parameters.

    segx sample DATA --layout landcover-ai
    python -m tools.ablation DATA --configs deeplabv3plus-tiny,difd-tiny --variants upsampler,bands

The table of DIFD's paper (Berka et al. 2025, arXiv 2503.22909) compares DeepLabV3+ for the aerial
image alone, ways to enlarge maps, and sets of satellite channels. `--variants` makes these of every
config with a DIFD; what a config already is, is trained once. Scores are of the split `val`.

OUT/CONFIG/              the run, which is gone on with if it was stopped
OUT/ablation.md, .csv    the table
"""

import argparse
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from runtime.files import write_text
from segx import __version__
from trainkit.aerial_config import Context, Upsampler
from trainkit.checkpoint import CHECKPOINT_NAME, read_info
from trainkit.config import TrainConfig, load
from trainkit.joint_config import DifdConfig
from trainkit.plan import TrainOptions
from trainkit.run import RUN_NAME
from trainkit.train import Watch, train

BANDS = {
    "4b": ("B02", "B03", "B04", "B08"),
    "7b": ("NDVI", "NDWI", "B02E", "B03E", "B04E", "B08E", "B08"),
    "10b": ("B02", "B03", "B04", "B08", "B02E", "B03E", "B04E", "B08E", "NDVI", "NDWI"),
}
"""Sets of satellite channels; what the paper means by its three is not known."""

VARIANTS = ("upsampler", "bands", "context")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of one config."""

    name: str
    parameters: int
    steps: int
    miou: float | None
    """0 to 1; None without a scored class."""
    iou: dict[str, float | None]
    """By class; None for a class that neither labels nor map hold."""


def variants(config: TrainConfig, kinds: Sequence[str]) -> Iterator[TrainConfig]:
    """Give a config, and what it becomes when one key of its DIFD is changed.

    Args:
        config: A config; one without a DIFD has no variants.
        kinds: Which keys; some of `VARIANTS`.
    """
    yield config
    difd = config.joint
    if not isinstance(difd, DifdConfig):
        return
    changed: dict[str, DifdConfig] = {}
    if "upsampler" in kinds:
        changed |= {kind: replace(difd, upsampler=kind) for kind in get_args(Upsampler)}
    if "bands" in kinds:
        changed |= {name: replace(difd, satellite_channels=BANDS[name]) for name in BANDS}
    if "context" in kinds:
        changed |= {kind: replace(difd, context=kind) for kind in get_args(Context)}
    for name, other in changed.items():
        if other != difd:
            yield replace(config, name=f"{config.name}-{name}", joint=other)


def run(config: TrainConfig, data: Path, out: Path, steps: int | None) -> Row:
    """Train a config, unless that is done, and read what it is worth."""
    if not (out / CHECKPOINT_NAME).is_file():
        options = TrainOptions(
            segx_version=__version__, steps=steps, resume=(out / RUN_NAME).is_file()
        )
        train(config, data, out, options, Watch(on_step=_tell(config.name)))
    info = read_info(out)
    metrics: Any = info.metrics
    fused = metrics["scores"]["fused"]
    return Row(
        name=config.name,
        parameters=info.parameters,
        steps=sum(info.steps.values()),
        miou=fused["miou"],
        iou={item["name"]: item["iou"] for item in fused["classes"]},
    )


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Make the table, its head first; scores are in per cent."""
    lines = [["config", "parameters", "steps", "mIoU", *rows[0].iou]]
    for row in rows:
        shares = [_percent(share) for share in (row.miou, *row.iou.values())]
        lines.append([row.name, str(row.parameters), str(row.steps), *shares])
    return lines


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Write a table as Markdown."""
    head, *body = ("| " + " | ".join(line) + " |" for line in lines)
    return "\n".join([head, "|" + "---|" * len(lines[0]), *body]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="data set with the splits train and val")
    parser.add_argument("--configs", default="deeplabv3plus-tiny,difd-tiny")
    parser.add_argument("--variants", default="", help=f"some of {','.join(VARIANTS)}")
    parser.add_argument("--steps", type=int, help="steps of each in place of the config's")
    parser.add_argument("--out", type=Path, default=Path("runs") / "ablation")
    options = parser.parse_args()
    kinds = [kind for kind in options.variants.split(",") if kind]
    if unknown := set(kinds) - set(VARIANTS):
        parser.error(f"--variants has {', '.join(sorted(unknown))}; use {', '.join(VARIANTS)}")
    rows: list[Row] = []
    for name in options.configs.split(","):
        for config in variants(load(name), kinds):
            rows.append(run(config, options.data, options.out / config.name, options.steps))
            write(options.out, rows)
    print(markdown(table(rows)), end="")
    print(options.out / "ablation.md")


def write(out: Path, rows: Sequence[Row]) -> None:
    """Write the table as far as it is known."""
    lines = table(rows)
    write_text(out / "ablation.md", markdown(lines))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    write_text(out / "ablation.csv", text.getvalue())


def _tell(name: str) -> Callable[[str, int, int, float], None]:
    def tell(unit: str, done: int, total: int, loss: float) -> None:
        if done == 1 or done == total:
            print(f"{name}: {unit} step {done} of {total}, loss {loss:.3f}", flush=True)

    return tell


if __name__ == "__main__":
    main()
