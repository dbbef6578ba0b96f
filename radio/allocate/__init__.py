"""Allocate: a bit depth for every weight group at a given rate."""
