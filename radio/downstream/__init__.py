"""What is left of a model's abilities? Downstream tasks through lm-eval: the paper's and our own.

The items of our own tasks come from packaged text (`from_text`) or from BIG-bench (`bigbench`); all
tasks go through the same `harness`, and `scores` says how a task's items become a number.
"""
