"""Write the tables of docs/models.md: what is counted here, and what docs/models.toml holds.

Parameters and multiplications are counted on every preset, without weights in memory. Figures that
were published or measured stand in docs/models.toml, with where they come from.

    python tools/model_table.py
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from runtime.manifest import Precision
from runtime.schema import parse
from runtime.tomlfile import read_toml
from trainkit.checkpoint import build_empty
from trainkit.config import load, presets
from trainkit.models import LandCoverModel

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "models.md"
FIGURES = ROOT / "docs" / "models.toml"

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
NONE = "-"
MARKS = "<!-- {name}: written by tools/model_table.py -->\n", "<!-- end of {name} -->\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What the authors of a model say it reaches."""

    figure: str
    source: str
    """Data and paper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What this project has measured."""

    figure: str
    data: str
    command: str
    date: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundled:
    """A bundle of one precision."""

    size_mib: float | None = None
    latency_ms: float | None = None
    """Median of one tile, batch 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """What is known of a preset beside what is counted."""

    published: Published | None = None
    measured: tuple[Measured, ...] = ()
    parity: str | None = None
    """Agreement of the FP32 bundle with PyTorch."""
    bundles: dict[str, Bundled] = field(default_factory=dict)
    """By precision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All of docs/models.toml."""

    bundles_of: str | None = None
    """Machine, commands and date of all sizes, latencies and parities."""
    presets: dict[str, Preset] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What is counted of a preset."""

    parameters: int
    gmacs: float
    """Multiplications of convolutions and matrix products, 1e9, of all parts on one tile."""


def count(preset: str) -> Count:
    """Count a preset's parameters, with those of auxiliary heads, and its multiplications."""
    with torch.device("meta"):
        model = build_empty(load(preset))
    model = model.to("meta").eval()
    return Count(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        gmacs=multiplications(model) / 1e9,
    )


@torch.no_grad()
def multiplications(model: LandCoverModel) -> int:
    """Multiplications of the parts that map one tile; a model on the device "meta"."""
    total = 0
    for part in model.parts():
        if part.name != "fusion_probabilities":
            feed = [tensor.to("meta") for tensor in part.example(batch=1).values()]
            with FlopCounterMode(display=False) as counter:
                part.module(*feed)
            total += counter.get_total_flops() // 2
    return total


def read_figures() -> Figures:
    """Read docs/models.toml; a preset that is not there any more is an error."""
    figures = parse(Figures, read_toml(FIGURES), where=str(FIGURES))
    unknown = set(figures.presets) - set(presets())
    if unknown:
        raise SystemExit(f"{FIGURES} has {', '.join(sorted(unknown))}; there is no such preset")
    return figures


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Lay out a Markdown table."""
    columns = list(head)
    return "".join(map(line, [columns, ["---"] * len(columns), *rows]))


def line(cells: Iterable[str]) -> str:
    """Lay out one row."""
    return f"| {' | '.join(cells)} |\n"


def counted(figures: Figures) -> str:
    """Table of what is counted, with what is published."""
    columns = ["preset", "parameters", "GMACs", "the paper's figure, not ours"]
    return table(columns, (counted_row(name, figures) for name in presets()))


def counted_row(name: str, figures: Figures) -> list[str]:
    """Row of one preset."""
    found, said = count(name), figures.presets.get(name, Preset()).published
    published = NONE if said is None else f"{said.figure} ({said.source})"
    return [f"`{name}`", f"{found.parameters:,}", f"{found.gmacs:.1f}", published]


def measured(figures: Figures) -> str:
    """Table of what was measured here, one row per measurement, and of presets without any."""
    rows = []
    for name in presets():
        found = figures.presets.get(name, Preset()).measured
        rows += [[f"`{name}`", m.figure, m.data, f"`{m.command}`", m.date] for m in found]
        if not found:
            rows.append([f"`{name}`", *[NONE] * 4])
    return table(["preset", "measured", "data", "command", "date"], rows)


def bundled(figures: Figures) -> str:
    """Table of parity, size and latency by precision."""
    rows = []
    for name in presets():
        known = figures.presets.get(name, Preset())
        made = [known.bundles.get(precision, Bundled()) for precision in PRECISIONS]
        rows.append(
            [
                f"`{name}`",
                known.parity or NONE,
                " / ".join(number(item.size_mib) for item in made),
                " / ".join(number(item.latency_ms) for item in made),
            ]
        )
    of = f"\n{figures.bundles_of}\n" if figures.bundles_of else ""
    columns = ["preset", "parity of FP32 with PyTorch", "size, MiB", "CPU latency, ms"]
    return table(columns, rows) + of


def number(value: float | None) -> str:
    """Three digits, or a dash."""
    return NONE if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def put(text: str, name: str, made: str) -> str:
    """Put a table between its marks."""
    start, end = (mark.format(name=name) for mark in MARKS)
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{PAGE} lacks {start.strip()} or {end.strip()}; put them back")
    return f"{before}{start}{made}{end}{after}"


def page(text: str, figures: Figures) -> str:
    """Put new tables into the page."""
    for name, make in (("measured", measured), ("bundles", bundled), ("counted", counted)):
        text = put(text, name, make(figures))
    return text


def main() -> None:
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), read_figures()), encoding="utf-8")


if __name__ == "__main__":
    main()
