"""`import tensorrt_rtx` in a child process of a test; see `fake_trt_child`."""

import sys

from fake_trt_child import from_environment

module = from_environment(__name__)
vars(module).update(__spec__=__spec__, __path__=__path__, __file__=__file__)
sys.modules[__name__] = module
