"""Benchmarks: matrix products and text generation with packed weights."""
