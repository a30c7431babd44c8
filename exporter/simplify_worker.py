"""The program that `simplify` runs: simplify one ONNX file into another.

It imports nothing of segx, so that it starts wherever the file lies.
"""

import sys

MEMORY_LIMIT = 16 << 30
"""Bytes of address space; folding constants has asked for more than machines have."""

LARGEST_FOLDED = "64MB"
"""Constants of more than this are not computed ahead."""

NOT_NEEDED = ("torch", "sympy")
"""Modules that onnxsim loads where they are installed, for work that it is not asked for here.
Loading them takes longer than simplifying does."""


def main(source: str, target: str) -> None:
    """Simplify `source` and write `target`."""
    _limit_memory()
    sys.modules.update(dict.fromkeys(NOT_NEEDED))  # type: ignore[arg-type]
    import onnx
    import onnxsim

    model, agrees = onnxsim.simplify(onnx.load(source), tensor_size_threshold=LARGEST_FOLDED)
    if not agrees:
        sys.exit("onnxsim says that its result does not agree")
    onnx.save(model, target)


def _limit_memory() -> None:
    if sys.platform == "win32":
        return
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = MEMORY_LIMIT if hard == resource.RLIM_INFINITY else min(MEMORY_LIMIT, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


if __name__ == "__main__":
    main(*sys.argv[1:])
