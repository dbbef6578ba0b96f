"""Methods of quantization: one file each, behind one small protocol (`base.Method`)."""
