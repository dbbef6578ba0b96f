"""The paper's loop: gradients, depths and biases refined together after each minibatch."""

from radio.paper_loop.loop import Refined, Refinement

__all__ = ["Refined", "Refinement"]
