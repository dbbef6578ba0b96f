"""radio: rate-distortion optimized compression of language models, as a reproduction suite.

`radio.compress` and `radio.load` are the Python interface. After `import radio`, transformers'
`from_pretrained` also loads what they write.
"""

from radio.api import CompressedModel, compress, load
from radio.runtime.imports import when_imported

__all__ = ["CompressedModel", "compress", "load"]

# transformers takes seconds to import, which would slow down `radio --help`: our quantizer is
# registered when transformers' quantizers are imported
when_imported("transformers.quantizers.auto", "radio.pack.hf.quantizer")
