"""The maps of a run: raw files that grow block row by block row, GeoTIFFs at the end."""
