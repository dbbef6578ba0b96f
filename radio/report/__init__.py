"""Tables and figures, made from manifests and results alone."""
