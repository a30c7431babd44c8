"""Bundles from ready ONNX files, which a small TOML file declares.

    ONNX file --- checked, brought to one operator set --+
    TOML file --- bands, scales, layouts, classes -------+-- one graph on the bundle's own inputs
                                                         |
               sizes that follow from shapes made fixed -+
               split where the inputs meet --------------+-- aerial, satellite, fusion

The original file, fed by the declared scales in NumPy, is the first stage of the parity ledger.
"""

from .declaration import Declaration, load_declaration
from .imported import Imported, ImportOptions, import_onnx

__all__ = ["Declaration", "ImportOptions", "Imported", "import_onnx", "load_declaration"]
