"""Targets: the rate that meets a file size, a bpw or an accuracy."""
