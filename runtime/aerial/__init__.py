"""Read aerial imagery: mosaics of files, fitted to what a model takes."""
