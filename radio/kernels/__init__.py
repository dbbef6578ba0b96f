"""Products with matrices of mixed bit depths: reference, processor, GPU, and one dispatcher."""
