"""Quantization methods, one file each, with a common protocol (`base.Method`)."""
