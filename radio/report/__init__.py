"""Tables and figures, built from manifests and results only."""
