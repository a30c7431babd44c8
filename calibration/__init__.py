"""Choose and store the representative inputs that set INT8 ranges (quantization calibration).

Calibration here never means the calibration of predicted probabilities.
"""
