"""One ONNX file and one raster for segx, MONAI, conflux-segmentation and habitat-mapper.

defaults          every tool as it comes; segx with the halo that its model card would name
equal overlap     a quarter of a tile (MONAI, conflux), a half (habitat-mapper knows no other):
                  segx with a halo of half that on each side, so that all step alike
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .contest import Contender, Rules, Segx, Turn, Worker, play
from .environment import onnxruntime_version, python_of
from .ratios import Group
from .report import Contest

PEERS = ("monai", "conflux-segmentation", "habitat-mapper")
WORKER = Path(__file__).with_name("peer_worker.py")
QUARTER, HALF = 0.25, 0.5
BYTES_PER_LOGIT = {"monai": 8, "conflux-segmentation": 20, "habitat-mapper": 0}
"""What a tool takes of memory at most, per pixel of the raster and class."""

NOTES = (
    "Every tool runs the same ONNX file, which takes float32 of 0..1 and normalises inside; peers "
    "run it with the ONNX Runtime that segx has. segx runs it as the middle part of a bundle, and "
    "also computes the confidence; its maps have overviews and are Cloud Optimized GeoTIFFs.",
    "Defaults of the others: MONAI steps by 3/4 of a tile and weighs all alike, "
    "conflux-segmentation steps by 7/8 and weighs by a Gaussian, habitat-mapper steps by half a "
    "tile and filters its map by a median of 5 x 5 pixels (left out at equal overlap).",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What every tool is given."""

    model: Path
    """The ONNX file."""
    raster: Path
    bundles: dict[int, Path]
    """Bundles around the file, by halo in pixels."""
    halo: int
    """The halo that a model card would name."""
    tile: int
    bands: int
    classes: int


def halo_for(tile: int, overlap: float) -> int:
    """Halo with which tiles step as they do where neighbours share a part of a tile.

    Args:
        tile: Side of a tile, in pixels.
        overlap: Shared part, 0 to 1.

    Raises:
        ValueError: If no halo of whole pixels does.
    """
    shared = tile * overlap
    if shared % 2:
        raise ValueError(f"an overlap of {overlap} of {tile} px is no even number of pixels")
    return int(shared) // 2


def halos(tile: int, card: int) -> tuple[int, ...]:
    """Halos that bundles are needed with: that of the model card, and those of equal overlap."""
    return tuple(sorted({card, halo_for(tile, QUARTER), halo_for(tile, HALF)}))


def refuse_without_memory(size: int, classes: int, peers: Sequence[str]) -> None:
    """Stop where a tool that holds the whole result would run out of memory, and others with it.

    Args:
        size: Side of the raster, in pixels.
        classes: Classes of the network.
        peers: Some of `PEERS`.
    """
    available = _available_bytes()
    for peer in peers:
        needed = size * size * classes * BYTES_PER_LOGIT[peer]
        if available is not None and needed > available:
            raise SystemExit(
                f"{size} x {size} px with {classes} classes need about {needed / 2**30:.0f} GiB in "
                f"{peer}; {available / 2**30:.0f} GiB are free; choose a smaller --size, or leave "
                "it out with --peers"
            )


def _available_bytes() -> int | None:
    info = Path("/proc/meminfo")
    found = [
        int(line.split()[1]) * 1024
        for line in (info.read_text(encoding="utf-8").splitlines() if info.is_file() else ())
        if line.startswith("MemAvailable:")
    ]
    return found[0] if found else None


def segx_name(backend: str, halo: int) -> str:
    """Name of a run of segx in the tables."""
    engine = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}[backend]
    return f"segx, {engine}, halo {halo} px"


def contenders(
    prepared: Prepared, env: Path, threads: int, peers: Sequence[str]
) -> Iterator[Contender]:
    """Name everyone who takes part.

    Args:
        prepared: What they are given.
        env: The peers' environment.
        threads: Threads of each.
        peers: Some of `PEERS`.
    """
    runs = [("onnxruntime", halo) for halo in prepared.bundles] + [("openvino", prepared.halo)]
    for backend, halo in runs:
        yield Segx(
            name=segx_name(backend, halo),
            bundle=prepared.bundles[halo],
            source=prepared.raster,
            backend=backend,
            threads=threads,
        )
    script = (str(python_of(env)), "-I", str(WORKER))
    for name, task in tasks(prepared, threads):
        if task["tool"] in peers:
            yield Worker(name=name, script=script, task=task)


def tasks(prepared: Prepared, threads: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the task of every run of a peer, by name; None is the tool's own default."""
    common = {
        "model": str(prepared.model),
        "raster": str(prepared.raster),
        "tile": prepared.tile,
        "bands": prepared.bands,
        "classes": prepared.classes,
        "threads": threads,
        "overlap": None,
        "mode": None,
        "blur": None,
    }
    for tool in PEERS:
        yield tool, {**common, "tool": tool}
    quarter = {**common, "overlap": QUARTER}
    yield "monai, overlap 25 %", {**quarter, "tool": "monai", "mode": "gaussian"}
    yield "conflux-segmentation, overlap 25 %", {**quarter, "tool": "conflux-segmentation"}
    yield "habitat-mapper, no filter", {**common, "tool": "habitat-mapper", "blur": 0}


def groups(prepared: Prepared, taking_part: Sequence[str]) -> tuple[Group, ...]:
    """Say who is compared with which run of segx; those who do not take part are left out."""
    card, default = (segx_name(name, prepared.halo) for name in ("onnxruntime", "openvino"))
    quarter, half = (
        segx_name("onnxruntime", halo_for(prepared.tile, share)) for share in (QUARTER, HALF)
    )
    named = (
        ("Each tool's own defaults, ONNX Runtime", card, PEERS),
        ("The same beside segx's default engine", default, (card, *PEERS)),
        (
            "Equal overlap, a quarter of a tile, ONNX Runtime",
            quarter,
            ("monai, overlap 25 %", "conflux-segmentation, overlap 25 %"),
        ),
        ("Equal overlap, half a tile, ONNX Runtime", half, ("habitat-mapper, no filter",)),
    )
    return tuple(
        Group(title=title, segx=segx, others=tuple(o for o in others if o in taking_part))
        for title, segx, others in named
    )


def compete(prepared: Prepared, env: Path, rules: Rules, peers: Sequence[str]) -> Contest:
    """Run everyone in turns.

    Raises:
        SystemExit: If a peer ran another ONNX Runtime than segx has.
    """
    taking_part = list(contenders(prepared, env, rules.threads, peers))
    names = [contender.name for contender in taking_part]
    contest = Contest(
        title="One ONNX file and one raster: segx and its peers",
        rules=rules,
        settings={"given": prepared, "tasks": dict(tasks(prepared, rules.threads))},
        groups=groups(prepared, names),
        notes=NOTES,
    )
    contest.turns.extend(play(taking_part, rules, on_turn=say))
    _same_runtime(contest.turns)
    return contest


def _same_runtime(turns: Sequence[Turn]) -> None:
    here = onnxruntime_version()
    for turn in turns:
        versions = turn.inside.says.get("versions", {}) if turn.inside else {}
        found = versions.get("onnxruntime", here)
        if found != here:
            raise SystemExit(
                f"{turn.contender} ran ONNX Runtime {found}, segx has {here}; run `setup` again"
            )


def say(turn: Turn) -> None:
    """Print a line about a run."""
    if turn.failed or turn.inside is None:
        print(f"round {turn.round + 1}  {turn.contender}: failed: {turn.failed}", flush=True)
        return
    print(
        f"round {turn.round + 1}  {turn.contender}: {turn.process_s:.1f} s, work "
        f"{turn.inside.work_s:.1f} s, {turn.inside.tiles} tiles, {turn.peak_rss_mib:.0f} MiB",
        flush=True,
    )
