"""The paper's figures, drawn from data only: one module per figure, in one style."""
