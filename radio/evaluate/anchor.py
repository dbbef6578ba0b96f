"""Does the uncompressed model score what the paper says? If not, nothing else compares."""

from collections.abc import Mapping

from radio.runtime.errors import RadioError

PAPER_CONTEXT_TOKENS = 2048


def check_anchor(
    perplexity: float,
    anchors: Mapping[str, float],
    protocol: str,
    context_tokens: int,
    tolerance: float | None,
) -> float | None:
    """Compare an FP16 perplexity with the paper's, where the paper has one for this protocol.

    Args:
        perplexity: of the uncompressed model.
        anchors: the paper's FP16 perplexities of this model by text.
        protocol: label of the text's blocks, which begins with the text's name and split.
        context_tokens: length of a block; the paper's anchors hold at 2048 only.
        tolerance: largest relative difference allowed; None allows any.

    Returns:
        Relative difference to the anchor; None where there is none for this protocol.

    Raises:
        RadioError: the difference exceeds `tolerance`.
    """
    anchor = anchors.get(protocol.partition("-test/")[0])
    if anchor is None or context_tokens != PAPER_CONTEXT_TOKENS:
        return None
    difference = perplexity / anchor - 1
    if tolerance is not None and not abs(difference) <= tolerance:
        raise RadioError(
            f"FP16 perplexity on {protocol} is {perplexity:.2f} where the paper has {anchor}: "
            "check the model's revision and tokenizer (BOS) and the text before anything is "
            "compared, or set anchor_tolerance=null to go on regardless"
        )
    return difference
