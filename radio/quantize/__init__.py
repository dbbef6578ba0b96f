"""Quantization methods, and their application to a model block by block."""
