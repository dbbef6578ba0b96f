"""The FP16 check stops a run whose protocol differs from the paper's."""

import math

import pytest

from radio.evaluate.fp16_check import check_fp16
from radio.runtime.errors import RadioError

ANCHORS = {"wikitext2": 27.65}
PROTOCOL = "wikitext2-test/2048x140/all/bos=once/join=\\n\\n"


def test_within_tolerance():
    difference = check_fp16(27.70, ANCHORS, PROTOCOL, 2048, 0.01)
    assert difference == pytest.approx(0.05 / 27.65)


@pytest.mark.parametrize("perplexity", [31.2, 25.0, 3000.0, math.nan, math.inf])
def test_a_mismatch_stops_the_run(perplexity):
    with pytest.raises(RadioError, match=r"the paper's is 27\.65.*anchor_tolerance=null"):
        check_fp16(perplexity, ANCHORS, PROTOCOL, 2048, 0.01)
    check_fp16(perplexity, ANCHORS, PROTOCOL, 2048, None)


@pytest.mark.parametrize(
    "protocol, context", [("c4-test/2048x256/first", 2048), ("wikitext2-test/4096x70/all", 4096)]
)
def test_other_texts_and_contexts_have_no_anchor(protocol, context):
    assert check_fp16(3000.0, ANCHORS, protocol, context, 0.01) is None
