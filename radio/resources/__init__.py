"""Resources: memory, time and disk of each job, and whether a model fits on a machine."""
