"""Convert Wikipedia's markup to plain prose.

One pass over the tree of mwparserfromhell keeps what a reader sees inline and drops the rest. Kept:
section headings (on their own lines), paragraphs, lists, quotations, inline formulas as TeX source,
and templates that stand for words in a sentence. Dropped: tables, references, images, galleries,
categories, comments, notices, pronunciations, displayed formulas, program listings, and the closing
sections that only list links or sources. A section without any text left loses its heading too.
"""

import html
import re
from collections.abc import Iterable, Iterator

import mwparserfromhell
from mwparserfromhell.nodes import (
    ExternalLink,
    Heading,
    HTMLEntity,
    Node,
    Tag,
    Template,
    Text,
    Wikilink,
)
from mwparserfromhell.wikicode import Wikicode

from radio.data.templates import UNKNOWN, words

HIDDEN_TAGS = {
    *("gallery", "hr", "imagemap", "ref", "references", "score", "source", "table", "timeline"),
}
LINE_TAGS = {"blockquote", "br", "center", "dd", "div", "dt", "li", "ol", "p", "poem", "ul"}
LINK_SECTIONS = {
    "bibliography",
    "citations",
    "external links",
    "footnotes",
    "further reading",
    "gallery",
    "notes",
    "notes and references",
    "references",
    "see also",
    "sources",
    "works cited",
}
NAMESPACES = {"category", "file", "image", "media", "wikipedia", "wp", "template"}
INTERLANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z]+)*:\S")
SUPERSCRIPTS = dict(zip("0123456789+-−n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻ⁿ", strict=True))

# marks in a rendered line: a heading (its level follows), a list item or other separate line, the
# start and end of a formula
HEADING, LINE, FORMULA, FORMULA_END = "\x00", "\x01", "\x02", "\x03"

# removed first because it confuses the parser: references often contain unbalanced markup
NOISE = re.compile(
    r"<!--.*?-->|<ref\b[^<>]*/>|<ref\b[^<>]*>.*?</ref\s*>|__[A-Z]+__|'{2,}",
    re.DOTALL | re.IGNORECASE,
)
HOLES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"[\u200b\u200e\u200f\ufeff\u2060]", ""),
        (r"\s+", " "),
        (r"\. \.( \.)?", "..."),
        # a template that the parser left as text
        (r"\{\{[A-Za-z][^{}|]*\|[^{}]*\}\}", UNKNOWN),
        (rf" ?\([^()]*{UNKNOWN}[^()]*\)|\$?{UNKNOWN}", ""),
        (r"(?<!\.)\.\.(?!\.)", "."),
        (r"\[\[+|\]\]+", ""),
        (r"[(,;]? ?\bISBN:?(?: ?[\dXx-]{9,}\)?)?", ""),
        (r"(?<=[.)])\[\d{1,2}\]", ""),
        (r"\[ ?\]|\( ?\)", ""),
        (r"([(\[]) +", r"\1"),
        (r" +([)\]])", r"\1"),
        (r"\((?:[;,:/]| or\b| and\b)+ ?", "("),
        (r" ?[;,:/]+\)", ")"),
        (r"; ?(?:; ?)+", "; "),
        (r", ?(?:, ?)+", ", "),
        (r", ?([.;:)](?!\.))", r"\1"),
        (r"; ?([.,)])", r"\1"),
        (r" +([,;)](?=\s|$))", r"\1"),
        (r"(?<!\.) +([.:!?](?=\s|$)(?! \.))", r"\1"),
        (r"^[.,;:)\]|]+ ", ""),
    )
]


def prose(markup: str) -> str:
    """Return an article as plain text: one paragraph or heading per line, blank lines between.

    List items and the like are on separate lines without a blank line between them.

    >>> prose("'''Ares''' ({{IPAc-en|a}}; {{lang|grc|Ἄρης}}) is a [[deity|god]].<ref>x</ref>")
    'Ares (Ἄρης) is a god.'
    """
    tree = mwparserfromhell.parse(NOISE.sub("", markup), skip_style_tags=True)
    return "".join(_with_text(_lines(_render(tree)))).strip()


def tidy(line: str) -> str:
    """Close the gaps that removed markup left in a line; return "" if no words are left.

    >>> tidy("Algeria ( ; , also:) is , as of 2011 , large ( ) .")
    'Algeria (also) is, as of 2011, large.'
    """
    before = None
    while line != before:
        before = line
        for pattern, replacement in HOLES:
            line = pattern.sub(replacement, line).strip()
    return line if re.search(r"\w", re.sub(r"\([^()]*\)", "", line)) else ""


def _lines(rendered: str) -> Iterator[tuple[str, str]]:
    """Cut rendered markup into (mark, tidied text); consecutive plain lines are joined."""
    paragraph: list[str] = []
    for raw in [*rendered.split("\n"), ""]:
        # a line that begins with | or ! is left over from a table that the parser could not read
        line = "" if raw.lstrip().startswith(("|", "!", "{|")) else raw
        mark = line[:1].replace(" ", LINE) if line[:1] in (HEADING, LINE, " ") else ""
        if line.strip() and not mark:
            paragraph.append(line)
            continue
        yield "", _sentence(" ".join(paragraph))
        paragraph = []
        if mark:
            level = line[1] if mark == HEADING else ""
            yield mark + level, _sentence(line.lstrip(HEADING + LINE).removeprefix(level))


def _sentence(line: str) -> str:
    """Return the tidied line; empty if it shows only a formula."""
    if not re.search(r"\w", re.sub(f"{FORMULA}.*?{FORMULA_END}", "", line)):
        return ""
    return tidy(html.unescape(line.replace(FORMULA, "").replace(FORMULA_END, "")))


def _with_text(lines: Iterable[tuple[str, str]]) -> list[str]:
    """Return lines with the break before each, without link sections and headings without text."""
    kept: list[tuple[str, str]] = []
    skipped = ""
    for mark, line in lines:
        heading = mark.startswith(HEADING)
        if heading and (not skipped or mark <= skipped):
            skipped = mark if line.lower() in LINK_SECTIONS else ""
        if skipped or not line:
            continue
        while heading and kept and kept[-1][0] >= mark and kept[-1][0].startswith(HEADING):
            kept.pop()
        kept.append((mark, line))
    while kept and kept[-1][0].startswith(HEADING):
        kept.pop()
    marks = ["", *(mark for mark, _ in kept)]
    return [
        ("\n" if mark == before == LINE else "\n\n") + line
        for before, (mark, line) in zip(marks, kept, strict=False)
    ]


def _render(tree: Wikicode) -> str:
    return "".join(_node(node) for node in tree.nodes)


def _node(node: Node) -> str:
    """Return the text of a node, with newlines where the page breaks a line."""
    if isinstance(node, Text):
        return str(node.value)
    if isinstance(node, Wikilink):
        return _link(node)
    if isinstance(node, Tag):
        return _tag(node)
    if isinstance(node, Template):
        return _template(node)
    if isinstance(node, HTMLEntity):
        return node.normalize() or ""
    if isinstance(node, Heading):
        return f"\n{HEADING}{node.level}{_render(node.title).strip()}\n"
    if isinstance(node, ExternalLink) and node.title is not None:
        return _render(node.title)
    return ""


def _link(node: Wikilink) -> str:
    """Return the visible text of an internal link; empty for images, categories and languages."""
    title = str(node.title).strip()
    if title.partition(":")[0].strip().lower() in NAMESPACES or INTERLANGUAGE.match(title):
        return ""
    return title.removeprefix(":") if node.text is None else _render(node.text)


def _tag(node: Tag) -> str:
    name = str(node.tag).strip().lower()
    if name in HIDDEN_TAGS:
        return ""
    inside = _render(node.contents) if node.contents is not None else ""
    if name == "math":
        return f"{FORMULA}{' '.join(inside.split())}{FORMULA_END}"
    if name == "sup" and all(character in SUPERSCRIPTS for character in inside):
        return "".join(SUPERSCRIPTS[character] for character in inside)
    return f"\n{LINE}{inside}" + "\n" * bool(inside) if name in LINE_TAGS else inside


def _template(node: Template) -> str:
    arguments = [_render(p.value) for p in node.params if not p.showkey]
    options = {str(p.name).strip(): _render(p.value) for p in node.params if p.showkey}
    return words(str(node.name).strip().lower(), arguments, options)
