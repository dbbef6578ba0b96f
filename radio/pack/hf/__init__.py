"""Quantized models for use outside the suite: directories that transformers loads.

After `import radio`, `AutoModelForCausalLM.from_pretrained` loads packed directories.
"""
