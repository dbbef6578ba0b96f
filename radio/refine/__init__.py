"""Paper mode: gradients, depths and biases refined together, minibatch by minibatch."""

from radio.refine.loop import Refined, Refinement

__all__ = ["Refined", "Refinement"]
