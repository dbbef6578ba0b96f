"""What a user asks for in one line: steps and the workflow, put together."""
