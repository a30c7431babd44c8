"""Write the table of docs/machines.md: cards of `segx bench --card`, and machines without one.

Cards lie in docs/machines/*.json. docs/machines/targets.toml lists machines that segx is made for:
one is left out of the table as soon as a card's machine matches it.

    python tools/machine_table.py
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runtime.machine_card import CardRun, MachineCard
from runtime.schema import parse
from runtime.tomlfile import read_toml

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "machines.md"
CARDS = ROOT / "docs" / "machines"
TARGETS = CARDS / "targets.toml"

NONE = "-"
START = "<!-- machines: written by tools/machine_table.py -->\n"
END = "<!-- end of machines -->\n"
COLUMNS = (
    *("machine", "status", "power mode", "bundle", "executed", "parity %", "ms per tile"),
    *("km2/h", "minutes per sheet", "kJ per sheet", "cold start s", "date, segx"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A machine that segx is made for."""

    name: str
    matches: str
    """Pattern that the description of such a machine holds."""
    state: Literal["built only", "never run"]
    note: str = ""
    """What was built, or what stands in the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """All of docs/machines/targets.toml."""

    targets: tuple[Target, ...]


def read_cards(folder: Path = CARDS) -> list[MachineCard]:
    """Read the cards, in the order of their file names."""
    return [
        parse(MachineCard, json.loads(path.read_text(encoding="utf-8")), where=str(path))
        for path in sorted(folder.glob("*.json"))
    ]


def read_targets(file: Path = TARGETS) -> tuple[Target, ...]:
    """Read the machines that segx is made for."""
    return parse(Targets, read_toml(file), where=str(file)).targets


def table(cards: Sequence[MachineCard], targets: Iterable[Target]) -> str:
    """Lay out the table: what has run, then what was built, then what has never run."""
    rows = [run_row(card, run) for card in cards for run in card.runs]
    seen = [description(card) for card in cards]
    left = [t for t in targets if not any(re.search(t.matches, words) for words in seen)]
    for state in ("built only", "never run"):
        rows += [target_row(target) for target in left if target.state == state]
    return "".join(map(line, [COLUMNS, ["---"] * len(COLUMNS), *rows]))


def description(card: MachineCard) -> str:
    """All that a target may be matched with."""
    machine = card.machine
    return "; ".join((machine.system, machine.text, *machine.features))


def run_row(card: MachineCard, run: CardRun) -> list[str]:
    """Row of one bundle on one machine."""
    sheet = run.sheet
    joules = None if sheet is None or sheet.joules is None else sheet.joules / 1e3
    return [
        ", ".join((card.machine.text, *card.machine.features)),
        "run",
        card.machine.power_mode or NONE,
        f"`{run.config}` {run.precision}",
        f"{run.backend} {run.executed}",
        f"{100 * run.golden_agreement:.2f}",
        number(run.latency_p50_ms / run.batch),
        number(run.km2_per_h),
        number(None if sheet is None else sheet.minutes),
        number(joules),
        number(run.cold_start_s),
        f"{card.made}, {card.segx_version}",
    ]


def target_row(target: Target) -> list[str]:
    """Row of a machine that nothing has run on."""
    return [target.name, target.state, NONE, target.note or NONE, *[NONE] * (len(COLUMNS) - 4)]


def line(cells: Iterable[str]) -> str:
    """Lay out one row; a bar in a text would be a new cell."""
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n"


def number(value: float | None) -> str:
    """Three digits, or a dash."""
    return NONE if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def page(text: str, made: str) -> str:
    """Put a table between its marks."""
    before, found, rest = text.partition(START)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise SystemExit(f"{PAGE} lacks {START.strip()} or {END.strip()}; put them back")
    return f"{before}{START}{made}{END}{after}"


def main() -> None:
    made = table(read_cards(), read_targets())
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")


if __name__ == "__main__":
    main()
