"""Every value of the paper's tables beside ours, with how ours was made."""
