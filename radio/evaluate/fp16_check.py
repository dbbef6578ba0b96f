"""The FP16 check: the uncompressed model must have the paper's perplexity, or nothing compares."""

from collections.abc import Mapping

from radio.runtime.errors import RadioError

PAPER_CONTEXT_TOKENS = 2048


def check_fp16(
    perplexity: float,
    anchors: Mapping[str, float],
    protocol: str,
    context_tokens: int,
    tolerance: float | None,
) -> float | None:
    """Compare an FP16 perplexity with the paper's, if the paper has one under this protocol.

    Args:
        perplexity: perplexity of the uncompressed model.
        anchors: the paper's FP16 perplexities of this model by text.
        protocol: label of the protocol, which begins with the text's name and split.
        context_tokens: length of a sequence; the paper's perplexities hold for 2048 only.
        tolerance: largest relative difference that passes; None accepts every difference.

    Returns:
        The relative difference; None if the paper has no perplexity under this protocol.

    Raises:
        RadioError: the difference exceeds `tolerance`.
    """
    anchor = anchors.get(protocol.partition("-test/")[0])
    if anchor is None or context_tokens != PAPER_CONTEXT_TOKENS:
        return None
    difference = perplexity / anchor - 1
    if tolerance is not None and not abs(difference) <= tolerance:
        raise RadioError(
            f"FP16 perplexity on {protocol} is {perplexity:.2f}, the paper's is {anchor}: check "
            "the model's revision, the tokenizer (BOS) and the text, or set anchor_tolerance=null "
            "to skip this check"
        )
    return difference
