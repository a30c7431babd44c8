"""Find the Sentinel-2 products in a folder, in whatever form they are."""

from pathlib import Path

from runtime.errors import SatelliteError

from .band_files import band_products
from .product import Product
from .safe import METADATA, safe_folder, safe_zip
from .stac_items import item_file


def find_products(root: Path) -> list[Product]:
    """Find every product: `.SAFE` folders and zips, STAC items, else files of one band each.

    Args:
        root: A folder of products, one `.SAFE` folder, or one zip.

    Raises:
        SatelliteError: If there is none, or one is damaged or of another kind.
    """
    if root.is_file() and root.suffix.lower() == ".zip":
        products = safe_zip(root)
    elif not root.is_dir():
        raise SatelliteError(
            f"{root} is not there; expected a folder of Sentinel-2 products or a zip of one; check "
            "the path"
        )
    elif root.suffix.upper() == ".SAFE" or (root / METADATA).is_file():
        products = [safe_folder(root)]
    else:
        products = _look_through(root)
    if not products:
        raise SatelliteError(
            f"{root} holds no Sentinel-2 product; expected .SAFE folders or zips, STAC items, or "
            "files of one band each such as T33UWS_20210619T100031_B02_10m.jp2; check the path"
        )
    for product in products:
        product.check_bands()
    return products


def _look_through(root: Path) -> list[Product]:
    folders, files = [], []
    stack = [root]
    while stack:
        for path in sorted(stack.pop().iterdir()):
            if path.is_symlink() and path.is_dir():
                continue
            if path.is_dir() and path.suffix.upper() == ".SAFE":
                folders.append(path)
            elif path.is_dir():
                stack.append(path)
            else:
                files.append(path)
    zips = [path for path in files if path.suffix.lower() == ".zip"]
    items = [
        item
        for path in files
        if path.suffix.lower() in (".json", ".geojson")
        if (item := item_file(path, root)) is not None
    ]
    products = [safe_folder(path) for path in folders]
    products += [product for path in zips for product in safe_zip(path)]
    if items:
        # What items name is theirs; the same files are no products of their own.
        return products + items
    return products + band_products(root, files)
