"""Land-cover classes: name, colour, and whether they count towards mIoU."""

import re
from dataclasses import dataclass

_HEX = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LandCoverClass:
    """One class; its index is its place in the list."""

    name: str
    color: str
    """Colour in maps, as #rrggbb."""
    scored: bool = True
    """Whether the data set scores it."""

    def __post_init__(self) -> None:
        """Refuse a colour that cannot be drawn."""
        if not _HEX.fullmatch(self.color):
            raise ValueError(f"class {self.name} has the colour '{self.color}'; expected #rrggbb")

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, 0 to 255."""
        return int(self.color[1:3], 16), int(self.color[3:5], 16), int(self.color[5:7], 16)
