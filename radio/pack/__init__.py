"""Codes and side information as bytes: bit packing, codecs, and the file format."""
