"""radio: rate-distortion optimised compression of language models, as a reproduction suite.

After `import radio`, `AutoModelForCausalLM.from_pretrained(DIR)` of transformers loads what
`radio quantize ... out=DIR` wrote.
"""

from radio.runtime.imports import when_imported

# transformers takes seconds to import, which `radio --help` must not pay: its quantizers get to
# know ours when somebody imports them
when_imported("transformers.quantizers.auto", "radio.pack.hf.quantizer")
