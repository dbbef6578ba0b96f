"""Steps of the workflow: each loads, calls and saves, and decides nothing."""
