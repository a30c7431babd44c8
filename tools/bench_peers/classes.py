"""Classes of networks that were not trained on any."""

from runtime.classes import LandCoverClass


def plain_classes(count: int) -> tuple[LandCoverClass, ...]:
    """Classes without a meaning, each with a colour of its own."""
    colours = (f"#{(index * 0x3779B1) & 0xFFFFFF:06x}" for index in range(1, count + 1))
    return tuple(
        LandCoverClass(name=f"class {index}", color=colour) for index, colour in enumerate(colours)
    )
