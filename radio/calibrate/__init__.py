"""Calibration: gradient variances and input means of every weight group."""
