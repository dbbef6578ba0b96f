"""Commands for users, which combine steps and the workflow."""
