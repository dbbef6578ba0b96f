import pytest

from radio.data.templates import words
from radio.data.wikimarkup import prose, tidy


@pytest.mark.parametrize(
    "markup, text",
    [
        ("''Ares'' is a [[deity|god]] of [[war]].", "Ares is a god of war."),
        ("One.<ref>A. ''B'' {{cite|x}}</ref><ref name=b/> Two.<!-- no -->", "One. Two."),
        ("One.<ref>unbalanced ''italics</ref> Two ''really''.", "One. Two really."),
        ("[[File:a.jpg|thumb|A [[cat]].]]A dog.\n[[Category:Dogs]]\n[[de:Hund]]", "A dog."),
        ("{{Infobox|a=b}}\n{| class=x\n|-\n| cell\n|}\nText.", "Text."),
        ("Text.\n{| unread\n! head\n| cell\nMore.", "Text.\n\nMore."),
        ("Broken\nline.\n\nNext.", "Broken line.\n\nNext."),
        ("Kinds:\n* one\n* two\n** three\nEnd.", "Kinds:\n\none\ntwo\nthree\n\nEnd."),
        ("a [http://x.org site], [http://y.org].", "a site."),
        ("10<sup>−11</sup> CH<sub>4</sub> 19<sup>th</sup>", "10⁻¹¹ CH4 19th"),
        ("35&nbsp;mm, <nowiki>35&nbsp;mm</nowiki>", "35 mm, 35 mm"),
        ("Let <math>x^2</math> be\n: <math>y = {{a} \\over b}</math>\nso.", "Let x^2 be\n\nso."),
        ("A<br />B<gallery>c.jpg</gallery>", "A\n\nB"),
        ("See __NOTOC__ ISBN 978-0-19-519813-3.", "See."),
    ],
)
def test_markup_becomes_what_a_reader_sees(markup, text):
    assert prose(markup) == text


def test_headings_stay_with_their_text_only():
    markup = """Intro.
== Tables ==
=== One ===
{| class=x
| 1
|}
== Life ==
=== Youth ===
Young.
== See also ==
* [[Other]]
=== Deeper ===
* more
== Legacy ==
Remembered.
== References ==
{{reflist}}
== Gallery of nothing =="""
    assert prose(markup).split("\n\n") == [
        "Intro.",
        "Life",
        "Youth",
        "Young.",
        "Legacy",
        "Remembered.",
    ]


@pytest.mark.parametrize(
    "markup, text",
    [
        ("{{convert|22|acre|km2}}", "22 acres"),
        ("{{convert|5|to|7|km|mi|abbr=on}}", "5 to 7 km"),
        ("{{convert|60|and(-)|80|kg}}", "60 and 80 kg"),
        ("a {{convert|40|acre|ha|adj=on}} lot", "a 40-acre lot"),
        ("{{convert|6|ft|4|in|m}}", "6 ft 4 in"),
        ("{{lang|grc|''ἀρχή''}}, {{lang-la|Opus}}", "ἀρχή, Opus"),
        ("{{chem|C|''n''|H|2''n''+2}}", "CnH2n+2"),
        ("{{frac|3}}, {{frac|1|4}}, {{frac|2|1|3}}", "1/3, 1/4, 2 1/3"),
        ("{{val|6.241|e=18|u=C}}", "6.241 × 10^18 C"),
        ("{{As of|2014}} and {{as of|2014|lc=y}}", "As of 2014 and as of 2014"),
        ("They said: {{quote|We go.|A. Man}} And went.", "They said:\n\nWe go.\n\nAnd went."),
        ("{{Nihongo|'''Aikido'''|合気道|Aikidō}}", "Aikido"),
        ("was $5 (${{Inflation|US|5|1929}} in {{CURRENTYEAR}} dollars).", "was $5."),
        ("a{{citation needed|date=May 2015}} claim{{refn|no}}", "a claim"),
        ("the phoneme {{IPA-de|tʃ|}}, ({{IPA-de|tʃ|lang}})", "the phoneme [tʃ],"),
        ("at {{Coord|13|19|N|169|9|W|type:event}}", "at 13°19'N 169°9'W"),
        ("{{Coord|32.7|-86.7|display=title}}Text", "Text"),
    ],
)
def test_templates_inside_sentences(markup, text):
    assert prose(markup) == text


def test_unknown_template_stands_for_nothing():
    assert words("a new notice", ["x"], {"y": "z"}) == ""
    assert words("lang", [], {}) == words("convert", ["3"], {})[:0] == ""


@pytest.mark.parametrize(
    "line, tidied",
    [
        ("Algeria ( ; , or Dzayer)", "Algeria (Dzayer)"),
        ("in all ({{x|y}} miles)", "in all"),
        ("Autism ( ) is", "Autism is"),
        ("a , b ;; c ,, d , . e", "a, b; c, d. e"),
        ("Sr.. Then . . . and ...now", "Sr. Then ... and ...now"),
        (", First of a series", "First of a series"),
        ("(1945–) stays (-ismos) too", "(1945–) stays (-ismos) too"),
        ("in 1961, ... the end", "in 1961, ... the end"),
        ("((CH3Li)x) and [[[Title]]]", "((CH3Li)x) and Title"),
        ("text.[3] next [1987]", "text. next [1987]"),
        ("(NED)", ""),
        (" ; . ", ""),
    ],
)
def test_holes_are_closed(line, tidied):
    assert tidy(line) == tidied
    assert tidy(tidied) == tidied
