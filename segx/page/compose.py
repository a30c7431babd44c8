"""The pages of `segx bench`, `segx export` and `segx infer`: the same sections, composed."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.bench import BenchResult
from runtime.bundle import Bundle
from runtime.machine import Machine
from runtime.report import Report

from .. import __version__
from .about import Facts, bundle_section, machine_section, run_section
from .bundle_files import BundleFiles, read_bundle_files
from .calibration import calibration_section
from .classes import Confusion, classes_section
from .document import Section, page
from .latency import latency_section
from .parity import parity_section
from .stages import stages_section
from .timed import name_all
from .tradeoff import tradeoff_section


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchContent:
    """What the page of a bench is made of."""

    results: Sequence[tuple[Bundle, BenchResult]]
    machine: Machine
    settings: Facts
    """How it was measured, by name."""
    confusions: Sequence[Confusion]
    pictures: Section | None


def bench_page(content: BenchContent) -> str:
    """Lay out the page of a bench.

    Raises:
        BundleError: If a bundle holds a file that is not what it must be.
    """
    timed = name_all(content.results)
    files = _files([bundle for bundle, _ in content.results])
    runs = [(t.label, t.result.end_to_end) for t in timed if t.result.end_to_end is not None]
    sections = [
        tradeoff_section(timed),
        latency_section(timed),
        stages_section(runs),
        content.pictures,
        classes_section(files, content.confusions),
        *_making(files),
        machine_section(content.machine, timed, content.settings),
    ]
    return _page("segx bench", [", ".join(t.label for t in timed), content.machine.text], sections)


def export_page(bundle: Bundle) -> str:
    """Lay out the page of an export.

    Raises:
        BundleError: If the bundle holds a file that is not what it must be.
    """
    files = _files([bundle])
    sections = [bundle_section(bundle), classes_section(files, ()), *_making(files)]
    return _page(f"Bundle {bundle.manifest.name}", [bundle.manifest.model.config], sections)


def infer_page(bundle: Bundle, report: Report, pictures: Section | None) -> str:
    """Lay out the page of a run.

    Raises:
        BundleError: If the bundle holds a file that is not what it must be.
    """
    files = _files([bundle])
    sections = [
        pictures,
        run_section(report),
        stages_section([(report.bundle.name, report)]),
        bundle_section(bundle),
        classes_section(files, ()),
        *_making(files),
    ]
    return _page("segx infer", [f"Maps by {report.bundle.name}"], sections)


def _files(bundles: Sequence[Bundle]) -> list[BundleFiles]:
    """Read each bundle once, on however many backends it was run."""
    return [read_bundle_files(bundle) for bundle in {b.sha256: b for b in bundles}.values()]


def _making(files: Sequence[BundleFiles]) -> list[Section | None]:
    return [parity_section(files), calibration_section(files)]


def _page(title: str, lead: Sequence[str], sections: Sequence[Section | None]) -> str:
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    foot = f"Written by segx {__version__} on {today} (UTC). The page loads nothing."
    return page(title, lead, [item for item in sections if item is not None], foot)
