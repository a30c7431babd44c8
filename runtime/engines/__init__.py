"""TensorRT engines: built on or for a device, kept in a cache, checked before they are opened."""
