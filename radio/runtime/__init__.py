"""What every step stands on: errors, files, wheels, configuration, manifests, W&B, progress."""
