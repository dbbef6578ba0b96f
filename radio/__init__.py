"""radio: rate-distortion optimised compression of language models, as a reproduction suite."""
