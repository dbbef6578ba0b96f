"""Every value of the paper's tables next to ours, with the verdict and the origin of ours."""
