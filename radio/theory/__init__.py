"""The paper's mathematics: pure functions of tensors, without files, devices or configuration.

One symbol table for the whole package (paper -> code):

    n        group: one cluster of output rows x one input column of a matrix
    P_n      `numel`            weights in the group
    B_n      `depths`           bit depth, an integer in 0..8
    R        `rate_bits`        mean bits per weight
    G_n^2    `grad_var`         mean squared derivative of the output with respect to a weight
    S_n^2    `weight_var`       mean squared deviation of the weights from their location
    s_n      `sensitivity`      G_n^2 S_n^2, output distortion a weight at B_n = 0
    d_n      `distortion`       s_n 2^(-2 B_n)
    V        `price`            dual variable: distortion worth one more bit
    mu, S    `location`, `scale` of a group
    -        `codebook`         levels and thresholds in units of the scale, about the location
    W, W_q   `weight`, dequantized weight, [rows, cols] = [outputs, inputs]
    x        inputs of a linear layer; E[x] is `input_mean`
    H        `second_moment`    E[x x^T], or the covariance; H^-1 = U^T U with U the `factor`

The source of an equation is named as "paper" (ICML 2025, arXiv 2505.03031) or "author's code"
(seannz/cvxq), wherever the two differ.
"""
