"""The errors that a user can mend.

    SegxError
    |-- ConfigError       a configuration file or option does not say what it must
    |-- DataError         a data set, raster or text file is missing, damaged or of another kind
    |   |-- BandError     the bands are not the ones that were asked for
    |   |-- GridError     a CRS, extent or resolution does not fit
    |   |-- SatelliteError  no Sentinel-2 series, or none that can be used
    |   |-- BusyError     another run writes into the same folder
    |   `-- CalibrationError  samples that a quantised bundle must not be calibrated on
    |-- CheckpointError   a checkpoint folder is incomplete, changed or not ours
    |-- BundleError       a bundle is incomplete, changed or of a version that cannot be read
    |-- FeedError         arrays handed to a session do not match its inputs
    |-- BackendError      an inference library, an extra or a device is missing
    |-- EngineError       an engine cannot be built, found, trusted, or does not fit this device
    |-- DeviceError       the GPU or its driver failed
    |   `-- DeviceMemoryError  the GPU has no memory left
    |-- SelfTestError     a model does not give what is expected for its golden tile
    |   |-- NotFiniteError     NaN or infinity
    |   |-- AllZeroError       nothing but zeros
    |   |-- CollapsedError     one class all over the tile
    |   `-- DisagreementError  other classes than the precision explains
    `-- ParityError       two artifacts that must agree do not

Every message is one line: what was found, what was expected, what to do about it. Anything that is
not a `SegxError` is a defect of segx and keeps its traceback.
"""


class SegxError(Exception):
    """Root of the errors that a user can mend by changing an input."""


class ConfigError(SegxError):
    """A configuration file or an option does not say what it must."""


class DataError(SegxError):
    """A data set, raster or text file is missing, damaged or of another kind."""


class BandError(DataError):
    """The bands of a raster are not the ones that were asked for."""


class GridError(DataError):
    """A coordinate reference system, extent or resolution does not fit."""


class SatelliteError(DataError):
    """There is no Sentinel-2 series for an aerial image, or none that can be used."""


class BusyError(DataError):
    """Another run writes into the same folder."""


class CalibrationError(DataError):
    """Samples are blank, unpaired, stale, or reserved for measuring."""


class CheckpointError(SegxError):
    """A checkpoint folder is incomplete, changed, or not one of segx."""


class BundleError(SegxError):
    """A bundle is incomplete, changed, or of a version that cannot be read."""


class FeedError(SegxError):
    """Arrays handed to a session do not match its inputs."""


class BackendError(SegxError):
    """An inference library, an optional dependency or a device is missing."""


class EngineError(SegxError):
    """An engine cannot be built, found or trusted, or does not fit this device."""


class DeviceError(SegxError):
    """The GPU or its driver failed."""


class DeviceMemoryError(DeviceError):
    """The GPU has no memory left for what was asked of it."""


class SelfTestError(SegxError):
    """A model does not give what is expected for its golden tile."""


class NotFiniteError(SelfTestError):
    """The golden tile gave NaN or infinity."""


class AllZeroError(SelfTestError):
    """The golden tile gave nothing but zeros."""


class CollapsedError(SelfTestError):
    """The golden tile gave one class where several are expected."""


class DisagreementError(SelfTestError):
    """The golden tile gave other classes than the precision can explain."""


class ParityError(SegxError):
    """Two artifacts that must agree do not."""


def brief(error: BaseException) -> str:
    """Shorten a library's message to one line: its last, where the cause stands."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
