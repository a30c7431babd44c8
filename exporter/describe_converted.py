"""Say in the manifest of a converted bundle what was done to which bundle, and what it cost."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from runtime.bundle import Bundle
from runtime.drift import InputRanges
from runtime.jsonfile import plain
from runtime.manifest import FORMAT_VERSION, Manifest
from trainkit.checkpoint import utc_now

from .accuracy import Verdict
from .attempts import Found
from .describe import LIBRARIES, versions
from .options import ConvertOptions
from .plan import describe_plan
from .trial import TrialReport
from .workshop import ConvertedPart

CONVERTING = (*LIBRARIES, "nvidia-modelopt", "onnx-graphsurgeon")


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a conversion has made and found."""

    name: str
    options: ConvertOptions
    parts: tuple[ConvertedPart, ...]
    search: Found
    computed: Mapping[str, Mapping[str, int]]
    """Layers with weights by the precision that OpenVINO computes them in, by part."""
    input_ranges: InputRanges
    trial: TrialReport | None
    """None where there was nothing to measure on."""

    def verdict(self, source: Bundle) -> Verdict:
        """Say whether the bundle is verified: it and its source must have passed."""
        if not source.manifest.verified:
            text = f"its FP32 bundle is not verified: {source.manifest.verdict}"
            # Trained weights that were measured, and missed.
            missed = source.manifest.accuracy is not None
            return Verdict(verified=False, missed=missed, text=text)
        if self.trial is None:
            return Verdict(verified=False, missed=False, text="no data to measure on")
        blame = "" if self.trial.blame is None else f"; {self.trial.blame.text}"
        passed = self.trial.gate.passed
        return Verdict(verified=passed, missed=not passed, text=self.trial.gate.text + blame)


def describe_converted(source: Bundle, found: Findings, files: Mapping[str, str]) -> Manifest:
    """Make the manifest of a converted bundle.

    Args:
        source: The FP32 bundle.
        found: What was made of it.
        files: sha256 of every file of the bundle by name.
    """
    verdict = found.verdict(source)
    return replace(
        source.manifest,
        format_version=FORMAT_VERSION,
        name=found.name,
        created=utc_now(),
        segx_version=found.options.segx_version,
        precision=found.options.precision,
        parts=tuple(part.spec for part in found.parts),
        files=dict(files),
        verified=verdict.verified,
        verdict=verdict.text,
        accuracy=None if found.trial is None else found.trial.accuracy,
        input_ranges=found.input_ranges,
        licences=source.manifest.licences | _licence(found.options),
        provenance={**source.manifest.provenance, "conversion": _conversion(source, found)},
    )


def _conversion(source: Bundle, found: Findings) -> dict[str, object]:
    options = found.options
    return {
        "source": {"name": source.manifest.name, "sha256": source.sha256},
        "plan": describe_plan(found.search.plan),
        "search": _search(found.search),
        "calibration_method": options.calibration_method,
        "quantize_transposed": options.quantize_transposed,
        "full_range_weights": options.full_range_weights,
        "parts": {
            part.spec.name: _part(part, found.computed[part.spec.name]) for part in found.parts
        },
        "versions": versions(CONVERTING),
    }


def _licence(options: ConvertOptions) -> dict[str, str]:
    return {} if options.weights_licence is None else {"weights": options.weights_licence}


def _search(search: Found) -> dict[str, object]:
    return {
        "text": search.text,
        "attempts": plain(search.attempts),
        "latencies": plain(search.latencies),
        "int8": plain(search.int8),
    }


def _part(part: ConvertedPart, computed: Mapping[str, int]) -> dict[str, object]:
    return {
        "precision": part.spec.precision,
        "mac_shares": plain(part.shares),
        "kept_in_fp32": dict(part.kept),
        "computed": dict(computed),
        "conversion": plain(part.worker),
    }
