"""Tiled dual-input inference over GeoTIFFs: numpy, rasterio and one inference library, no torch."""
