"""Products with matrices of mixed bit depths: reference, CPU, GPU, and a dispatcher."""
