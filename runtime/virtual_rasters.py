"""Read which files a virtual raster (VRT) names, so that they are looked at before GDAL opens them.

A VRT is XML that lists rasters, which GDAL opens with whatever reader fits. It reads XML loosely:
names of elements in any case, an attribute in place of an element, the first piece of a text that a
comment parts. What GDAL could understand otherwise than this module is refused, and so is what
names files in other ways or runs code.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from .errors import DataError, brief
from .files import read_bounded

MOST_BYTES = 64 << 20
"""A VRT of 50 000 sheets has half of that."""

SOURCES = frozenset({"sourcefilename", "sourcedataset"})
"""Elements that name a raster, in small letters."""

REFUSED = frozenset(
    {
        *("pixelfunctioncode", "pixelfunctionlanguage"),  # run Python
        *("geoloctransformer", "dempath", "processingsteps"),  # name other rasters
        "openoptions",  # where a reader looks for what a file names
    }
)
"""Elements that no VRT of imagery needs, in small letters."""

PLAIN_ATTRIBUTES = frozenset({"relativetovrt", "shared"})
"""What may stand at a name of a file, in small letters."""

_PREFIX = re.compile(r"\w{2,}:")
"""Names with which GDAL calls a reader, such as `WMS:`; a drive has one letter."""


def named_files(path: Path) -> set[Path]:
    """Read the files that a VRT names, itself.

    Raises:
        DataError: If it is too large, no XML, or leads to something else than files.
    """
    try:
        content = read_bounded(path, most=MOST_BYTES).decode("utf-8-sig")
        if "<!" in content:
            raise ValueError("it has a comment, CDATA or a document type")
        # Instructions are kept, as they too would part a name.
        builder = ElementTree.TreeBuilder(insert_pis=True)
        root = ElementTree.fromstring(content, ElementTree.XMLParser(target=builder))
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as XML ({brief(error)}); expected a VRT of GDAL; make it anew, "
            "or several of it if it is too large: gdalbuildvrt"
        ) from error
    # GDAL looks beside the file that a link leads to.
    folder = path.resolve().parent
    found = set()
    for node in _apart_from_metadata(root):
        _check_node(path, node)
        if node.tag.lower() in SOURCES:
            found.add(_named(path, folder, node))
    return found


def _apart_from_metadata(node: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """Walk through a VRT; metadata of it and its bands are text, which may hold addresses."""
    found = [node]
    while found:
        node = found.pop()
        if not isinstance(node.tag, str):
            continue
        yield node
        told = node.tag in ("VRTDataset", "VRTRasterBand")
        found += [child for child in node if not (told and child.tag == "Metadata")]


def _check_node(path: Path, node: ElementTree.Element) -> None:
    names = {node.tag.lower(), *map(str.lower, node.attrib)}
    strange = names & REFUSED or {name for name in names if "}" in name}
    strange |= SOURCES & set(map(str.lower, node.attrib))
    if strange:
        raise DataError(
            f"{path} holds {min(strange)[:60]!r}; expected a VRT that lists rasters, as "
            "gdalbuildvrt makes it; make it anew"
        )
    for text in (node.text or "", node.tail or "", *node.attrib.values()):
        if "/vsi" in text.lower() or "://" in text or text.lstrip().startswith("<"):
            raise _elsewhere(path, text)


def _named(path: Path, folder: Path, node: ElementTree.Element) -> Path:
    """Give the file that an element names."""
    name = node.text or ""
    given = {key.lower(): value for key, value in node.attrib.items()}
    relative = given.get("relativetovrt", "0")
    is_plain = len(given) == len(node.attrib) and given.keys() <= PLAIN_ATTRIBUTES
    if not is_plain or len(node) or name != name.strip() or relative not in ("0", "1"):
        raise DataError(
            f"{path} names the file {name.strip()[:80]!r} in an unusual form; expected a name and "
            "relativeToVRT 0 or 1, as gdalbuildvrt writes them; make it anew"
        )
    if _PREFIX.match(name):
        raise _elsewhere(path, name)
    return folder / name if relative == "1" else Path(name)


def _elsewhere(path: Path, text: str) -> DataError:
    return DataError(
        f"{path} leads to {text.strip()[:80]!r}; expected local files alone; fetch what it names, "
        "and make a VRT of that"
    )
