"""Data sources to checkpoint: configs, models, losses and training. The packages' only torch."""
