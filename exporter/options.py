"""How a checkpoint is exported."""

from dataclasses import dataclass

from runtime.manifest import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What an export is started with beside its checkpoint and its data."""

    segx_version: str
    precision: Precision = "fp32"
    weights_licence: str = "chosen by whoever trained them; ask before you pass them on"
    """Terms of the weights, for the manifest."""
    parity_samples: int = 4
    """Samples that the stages are compared on."""

    def metadata(self, bundle: str) -> dict[str, str]:
        """What every ONNX file of a bundle of this name says of itself."""
        return {"segx.bundle": bundle, "segx.version": self.segx_version}
