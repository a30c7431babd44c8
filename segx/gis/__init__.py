"""Maps as vectors: polygons of a class, in a GeoPackage."""

from .vectorize import VectorOptions, vectorize

__all__ = ["VectorOptions", "vectorize"]
