"""How far is a quantized model from the original? Perplexity and divergence, block by block."""
