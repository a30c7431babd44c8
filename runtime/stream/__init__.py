"""Tiled inference as stages that run at the same time."""
