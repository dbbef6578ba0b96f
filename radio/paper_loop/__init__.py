"""Paper mode: gradients, depths and biases refined together, minibatch by minibatch."""

from radio.paper_loop.loop import Refined, Refinement

__all__ = ["Refined", "Refinement"]
