"""The FP16 anchor stops a run whose protocol is not the paper's."""

import math

import pytest

from radio.evaluate.anchor import check_anchor
from radio.runtime.errors import RadioError

ANCHORS = {"wikitext2": 27.65}
PROTOCOL = "wikitext2-test/2048x140/all/bos=once/join=\\n\\n"


def test_within_tolerance():
    difference = check_anchor(27.70, ANCHORS, PROTOCOL, 2048, 0.01)
    assert difference == pytest.approx(0.05 / 27.65)


@pytest.mark.parametrize("perplexity", [31.2, 25.0, 3000.0, math.nan, math.inf])
def test_a_mismatch_stops_the_run(perplexity):
    with pytest.raises(RadioError, match=r"the paper has 27\.65.*anchor_tolerance=null"):
        check_anchor(perplexity, ANCHORS, PROTOCOL, 2048, 0.01)
    check_anchor(perplexity, ANCHORS, PROTOCOL, 2048, None)


@pytest.mark.parametrize(
    "protocol, context", [("c4-test/2048x256/first", 2048), ("wikitext2-test/4096x70/all", 4096)]
)
def test_other_texts_and_contexts_have_no_anchor(protocol, context):
    assert check_anchor(3000.0, ANCHORS, protocol, context, 0.01) is None
