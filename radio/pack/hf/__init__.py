"""Quantized models outside the suite: directories that transformers loads, packed or dense.

`import radio` is enough for `AutoModelForCausalLM.from_pretrained` to know them.
"""
