"""Find the bundle that a command works on."""

from pathlib import Path

from runtime.bundle import find_newest
from runtime.errors import BundleError

from .console import chosen

TOY = Path(__file__).with_name("toy.segx")
"""The packaged bundle: trained on generated imagery only, for `segx demo` and `segx bench`."""


def newest_bundle() -> Path | None:
    """Find the newest verified bundle below the working directory; the packaged toy is none."""
    return find_newest(Path.cwd(), apart_from=TOY)


def bundle_or_newest(named: Path | None) -> Path:
    """Take the bundle that was named, else the newest verified one below the working directory.

    Raises:
        BundleError: If none was named and there is none.
    """
    if named is not None:
        return named
    found = newest_bundle()
    if found is None:
        raise BundleError(
            "no verified bundle lies below this folder; expected one made by `segx export`; "
            "name one with --bundle"
        )
    chosen("bundle", found, "the newest verified one")
    return found
