"""Run engines on an NVIDIA GPU: driver, memory, engines, and the model made of them."""
