"""Codes and side information as bytes: bit packing, and the codecs that give codes a meaning."""
