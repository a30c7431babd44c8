"""The segx command: train, export and run dual-input land-cover segmentation."""

__version__ = "0.1.0"
