"""Evaluate a model on downstream tasks through lm-eval: the paper's tasks, and two of our own.

`from_text` derives the items of our own tasks from bundled text. `harness` runs every task, and
`scores` turns the values of its items into a score with a standard error.
"""
