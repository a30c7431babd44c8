"""How a checkpoint is exported, and how an FP32 bundle is converted."""

from collections.abc import Mapping
from dataclasses import dataclass

from runtime.manifest import Precision

from .gate_report import Budgets
from .quantize_worker import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What an export is started with beside its checkpoint and its data."""

    segx_version: str
    weights_licence: str = "chosen by whoever trained them; ask before you pass them on"
    """Terms of the weights, for the manifest."""
    parity_samples: int = 4
    """Samples that the stages are compared on."""

    def metadata(self, bundle: str) -> dict[str, str]:
        """What every ONNX file of a bundle of this name says of itself."""
        return {"segx.bundle": bundle, "segx.version": self.segx_version}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """What a conversion is started with beside its bundle and its data."""

    segx_version: str
    precision: Precision
    """FP16 or INT8."""
    weights_licence: str | None = None
    """Terms of the weights, for the manifest; those of the FP32 bundle if None."""
    plan: Mapping[str, Precision] | None = None
    """Precision by branch where it is not the bundle's; see `plan.make_plan`."""
    calibration_method: Method = "entropy"
    quantize_transposed: bool = False
    """Quantise transposed convolutions too; TensorRT is known to compute some of them wrongly."""
    full_range_weights: bool = False
    """Use all levels of INT8 for weights; x86 processors without VNNI compute them in FP32 then."""
    budgets: Budgets | None = None
    """What the conversion may cost; those of the precision if None."""
    parity_samples: int = 4
    """Calibration samples that the stages are compared on."""
    auto_plan: bool = False
    """Search the precision of every branch; `precision` is the lowest that may be chosen."""
    repair_s: float = 600.0
    """Seconds for trying other plans when one misses its budgets; 0: none is repaired."""
