"""The paper's figures, drawn from data alone: each module is one figure, in one style."""
