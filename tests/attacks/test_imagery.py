"""Images that were made to harm are refused when they are mapped, and nobody is asked for anything.

A bundle without Sentinel-2 is used, as what is refused here is refused before any model is opened.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.errors import RasterioError

from runtime.raster_files import open_raster

from .conftest import Refuse

PLACE = Affine(0.2, 0, 7e5, 0, -0.2, 6.6e6)
SERVICE = "<GDAL_WMS><Service name='TMS'><ServerUrl>{0}/${{z}}/${{x}}</ServerUrl></Service>" + (
    "<DataWindow><UpperLeftX>0</UpperLeftX><UpperLeftY>9</UpperLeftY><LowerRightX>9</LowerRightX>"
    "<LowerRightY>0</LowerRightY><SizeX>16</SizeX><SizeY>16</SizeY></DataWindow>"
    "<Projection>EPSG:2154</Projection><BandsCount>3</BandsCount></GDAL_WMS>"
)
"""A file of GDAL that stands for a web service."""


class Attack(NamedTuple):
    """How an image is made, and what is said of it."""

    make: Callable[[Path, str, Path], Path]
    """Takes a folder, the address of a listener, and a secret file; gives the image."""
    said: str


def tif(path: Path, **options: object) -> Path:
    settings = {"count": 5, "width": 80, "height": 80, "dtype": "uint8", **options}
    with rasterio.open(path, "w", "GTiff", crs="EPSG:2154", transform=PLACE, **settings) as target:
        if "SPARSE_OK" not in options:
            target.write(np.full((5, 80, 80), 7, np.uint8))
    return path


def element(name: str, *, relative: int = 1) -> str:
    return f'<SourceFilename relativeToVRT="{relative}">{name}</SourceFilename>'


def vrt(path: Path, source: str, *, more: str = "", band: str = "", kind: str = "") -> Path:
    """Write a VRT whose only band has one source; `source` is the element that names it."""
    path.write_text(
        f'<VRTDataset rasterXSize="80" rasterYSize="80"{kind}><SRS>EPSG:2154</SRS>'
        f"<GeoTransform>7e5,0.2,0,6.6e6,0,-0.2</GeoTransform>{more}"
        f'<VRTRasterBand dataType="Byte" band="1"{band}><SimpleSource>{source}'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    return path


def vrt_of(source: str, **options: str) -> Callable[[Path, str, Path], Path]:
    """A VRT beside a whole image and a web service; `{0}` in the source is the address."""

    def make(folder: Path, address: str, secret: Path) -> Path:
        tif(folder / "part.tif")
        (folder / "service.xml").write_text(SERVICE.format(address))
        given = {name: text.format(address) for name, text in options.items()}
        return vrt(folder / "image.vrt", source.format(address, secret), **given)

    return make


def nested(folder: Path, address: str, secret: Path) -> Path:
    tif(folder / "0.vrt")
    for number in range(6):
        vrt(folder / f"{number + 1}.vrt", element(f"{number}.vrt"))
    return folder / "6.vrt"


def vrt_of_bomb(folder: Path, address: str, secret: Path) -> Path:
    bomb(folder, address, secret).rename(folder / "part.tif")
    return vrt(folder / "image.vrt", element("part.tif"))


def vrt_in_disguise(folder: Path, address: str, secret: Path) -> Path:
    inner = vrt(folder / "inner.vrt", element(f"/vsicurl/{address}/a.tif", relative=0))
    (folder / "part.png").write_bytes(b"\x89PNG\r\n\x1a\n" + inner.read_bytes())
    return vrt(folder / "image.vrt", element("part.png"))


def vrt_of_led_astray(folder: Path, address: str, secret: Path) -> Path:
    overviews_in_tag(folder, address, secret).rename(folder / "part.tif")
    return vrt(folder / "image.vrt", element("part.tif"))


def bomb(folder: Path, address: str, secret: Path) -> Path:
    side = 60_000
    tiles = {"tiled": True, "blockxsize": side, "blockysize": side, "compress": "deflate"}
    path = tif(folder / "image.tif", width=side, height=side, count=1, SPARSE_OK=True, **tiles)
    assert path.stat().st_size < 1 << 20
    return path


def absurd(folder: Path, address: str, secret: Path) -> Path:
    tiles = {"tiled": True, "blockxsize": 65_536, "blockysize": 16, "SPARSE_OK": True}
    return tif(folder / "image.tif", width=50_000_000, height=16, count=1, **tiles)


def web_service(folder: Path, address: str, secret: Path) -> Path:
    (folder / "image.tif").write_text(SERVICE.format(address))
    return folder / "image.tif"


def overviews_in_sidecar(folder: Path, address: str, secret: Path) -> Path:
    (folder / "image.tif.aux.xml").write_text(
        '<PAMDataset><Metadata domain="OVERVIEWS">'
        f'<MDI key="OVERVIEW_FILE">/vsicurl/{address}/a.ovr</MDI></Metadata></PAMDataset>'
    )
    return tif(folder / "image.tif")


def overviews_in_tag(folder: Path, address: str, secret: Path) -> Path:
    path = tif(folder / "image.tif")
    with rasterio.open(path, "r+") as target:
        target.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=f"/vsicurl/{address}/a.ovr")
    return path


def beside(ending: str, content: str) -> Callable[[Path, str, Path], Path]:
    """A whole image beside which lies a file that leads elsewhere."""

    def make(folder: Path, address: str, secret: Path) -> Path:
        path = tif(folder / "image.tif")
        side = folder / (path.name + ending)
        if content == "vrt":
            vrt(side, element(f"/vsicurl/{address}/a.tif", relative=0))
        else:
            side.write_text(content.format(address))
        return path

    return make


def mask_bomb(folder: Path, address: str, secret: Path) -> Path:
    bomb(folder, address, secret).rename(folder / "image.tif.msk")
    return tif(folder / "image.tif")


PLAIN = element("part.tif")
HIDDEN = element("service.xml")

ATTACKS = {
    "a VRT that fetches": Attack(
        vrt_of(element("/vsicurl/{0}/a.tif", relative=0)), "expected local files alone"
    ),
    "a VRT with an address": Attack(vrt_of(element("{0}/a.tif", relative=0)), "leads to 'http"),
    "a VRT that names a reader": Attack(
        vrt_of(element("WMS:{0}", relative=0).replace("http://", "")), "leads to 'WMS:"
    ),
    "a VRT within itself": Attack(vrt_of(element("image.vrt")), "is a VRT of VRTs (image.vrt"),
    "VRTs without end": Attack(nested, "expected 4 within each other at most"),
    "a VRT of a file that is no image": Attack(
        vrt_of(element("{1}", relative=0)), "secret.txt cannot be opened as a raster"
    ),
    "a VRT that reads bytes of any file": Attack(
        vrt_of(element("{1}", relative=0), band=' subClass="VRTRawRasterBand"'),
        "secret.txt cannot be opened as a raster",
    ),
    "a VRT of a web service": Attack(vrt_of(HIDDEN), "service.xml cannot be opened as a raster"),
    "names in capitals": Attack(
        vrt_of(HIDDEN.replace("SourceFilename", "SOURCEFILENAME")),
        "service.xml cannot be opened as a raster",
    ),
    "an attribute in place of an element": Attack(
        vrt_of('<x SourceFilename="service.xml"/>'),
        "holds 'sourcefilename'",
    ),
    "names of another kind of XML": Attack(
        vrt_of(HIDDEN.replace("<SourceFilename", '<SourceFilename xmlns="a"')),
        "holds '{a}sourcefilename'",
    ),
    "a comment within a name": Attack(
        vrt_of(element("part<!-- -->.tif")), "it has a comment, CDATA or a document type"
    ),
    "an instruction within a name": Attack(vrt_of(element("part<?x ?>.tif")), "in an unusual form"),
    "a name with more in it": Attack(
        vrt_of(element("<relativeToVRT>1</relativeToVRT>service.xml", relative=0)),
        "in an unusual form",
    ),
    "a name that ends in a space": Attack(vrt_of(element("part.tif ")), "in an unusual form"),
    "a VRT with entities": Attack(
        lambda folder, address, secret: written(
            folder / "image.vrt", '<!DOCTYPE x [<!ENTITY a "b">]><VRTDataset>&a;</VRTDataset>'
        ),
        "it has a comment, CDATA or a document type",
    ),
    "XML without end": Attack(
        lambda folder, address, secret: written(
            folder / "image.vrt", "<VRTDataset>" + "<a>" * 100_000
        ),
        "cannot be read as XML",
    ),
    "a VRT that runs Python": Attack(
        vrt_of(
            PLAIN,
            band=' subClass="VRTDerivedRasterBand"',
            more="<PixelFunctionLanguage>Python</PixelFunctionLanguage>",
        ),
        "holds 'pixelfunctionlanguage'",
    ),
    "a VRT that warps by a file elsewhere": Attack(
        vrt_of(
            PLAIN,
            more="<GeoLocTransformer><Metadata><MDI key='X_DATASET'>service.xml</MDI></Metadata>"
            "</GeoLocTransformer>",
            kind=' subClass="VRTWarpedDataset"',
        ),
        "holds 'geoloctransformer'",
    ),
    "a CRS given as an address": Attack(vrt_of(PLAIN, more="<SRS>{0}/crs</SRS>"), "leads to"),
    "a VRT that poses as an image": Attack(vrt_in_disguise, "part.png cannot be read as XML"),
    "a VRT of a bomb": Attack(vrt_of_bomb, "part.tif is stored in blocks of 60000 x 60000 px"),
    "a VRT of an image with overviews elsewhere": Attack(
        vrt_of_led_astray, "as its overviews; expected them in the file"
    ),
    "a web service in place of an image": Attack(web_service, "it begins with b'<GDAL_WM'"),
    "a TIFF that unpacks to 3 GiB at once": Attack(bomb, "in blocks of 60000 x 60000 px, 3.4 GiB"),
    "a TIFF of absurd size": Attack(absurd, "says it has 16 x 50000000 px; expected 10000000"),
    "overviews elsewhere, in a sidecar": Attack(overviews_in_sidecar, "as its overviews"),
    "overviews elsewhere, in a tag": Attack(overviews_in_tag, "as its overviews"),
    "overviews that are a VRT": Attack(
        beside(".ovr", "vrt"), "image.tif.ovr is read by GDAL's driver VRT; expected a GeoTIFF"
    ),
    "a mask that is a VRT": Attack(
        beside(".msk", "vrt"), "image.tif.msk is read by GDAL's driver VRT; expected a GeoTIFF"
    ),
    "a mask that is a web service": Attack(
        beside(".MSK", SERVICE), "image.tif.MSK cannot be opened as a raster"
    ),
    "a mask that unpacks to 3 GiB at once": Attack(mask_bomb, "image.tif.msk is stored in blocks"),
    "statistics that are a VRT": Attack(
        beside(".aux", "EHFA_HEADER_TAG<VRTDataset/>"), "image.tif.aux holds a VRT"
    ),
}


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def aerial_bundle(
    write_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "alone.segx", satellite=False)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_image_is_refused_when_it_is_mapped(
    name: str,
    refuse: Refuse,
    aerial_bundle: Path,
    tmp_path: Path,
    secret: Path,
    listener: tuple[str, list[str]],
) -> None:
    address, asked = listener
    image = ATTACKS[name].make(tmp_path, address, secret)
    message = refuse("infer", image, "--bundle", aerial_bundle, "--out", "maps")
    assert ATTACKS[name].said in message
    assert not asked


def test_what_lies_beside_an_image_is_found_by_exact_names_alone(
    tmp_path: Path, secret: Path, listener: tuple[str, list[str]]
) -> None:
    address, asked = listener
    image = beside(".oVr", "vrt")(tmp_path, address, secret)
    with open_raster(image) as dataset:
        assert dataset.overviews(1) == []
        assert (dataset.read(1, out_shape=(20, 20)) == 7).all()
    assert not asked
    with rasterio.open(image) as dataset, pytest.raises(RasterioError):
        dataset.read(1, out_shape=(20, 20))
    assert asked, "GDAL by itself goes there"
