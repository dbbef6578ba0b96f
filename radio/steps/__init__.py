"""Steps of the workflow: each loads its inputs, calls the library and saves the result."""
