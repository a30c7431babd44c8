"""Turn a checkpoint into a bundle: ONNX parts, precision, parity gate, manifest."""
