"""Bring Sentinel-2 products in the forms that users have them in into the layout of a series.

find        products of a folder: `.SAFE` folders and zips, STAC items, files of one band each
convert     products -> S2_YYYYMMDD.tif and S2_YYYYMMDD_masks.tif on one grid of 10 m
catalogue   products of a public STAC catalogue, of which only windows are read
"""

from .convert import Converted, Source, convert
from .find import find_products
from .product import Product
from .target import margin_grid

__all__ = ["Converted", "Product", "Source", "convert", "find_products", "margin_grid"]
