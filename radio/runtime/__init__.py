"""Shared base of all steps: errors, files, wheels, configuration, manifests, W&B, progress."""
