"""Allocation of a bit depth to every weight group at a given rate."""
