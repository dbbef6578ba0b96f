"""Evaluate a quantized model: perplexity, and divergence from the original, per sequence."""
