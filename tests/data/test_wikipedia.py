import bz2
import re
from itertools import combinations
from types import MappingProxyType

import pytest
import torch
from omegaconf import OmegaConf

from radio.data import load_text, wikipedia
from radio.data.tokens import check_disjoint, choose_blocks, joined_blocks
from radio.runtime.errors import RadioError
from tests.data.fake_texts import word_tokenizer

# what a cleaner leaves behind that has not looked: holes of removed markup, and markup
LEFTOVERS = MappingProxyType(
    {
        "separator opens a parenthesis": r"\(\s*[;,:.](?!\.)",
        "separator closes a parenthesis": r"[;,:/]\s*\)",
        "empty brackets": r"\(\s*\)|\[\s*\]",
        "space before punctuation": r"\s[,;:.!?)](?=\s|$)",
        "two separators": r",\s*[,;:)](?!\.)|;\s*[,;)]",
        "two full stops": r"(?<!\.)\.\.(?!\.)",
        "two spaces": r"[^\S\n]{2}|[^\S \n]",
        "many newlines": r"\n{3}",
        "table": r"\{\||\|\}|\|\||\|-|^[|!]|(?:style|class|align|colspan|bgcolor)\s*=",
        "link or template": r"\[\[|\]\]|\{\{\s*[A-Za-z][^{}]*\||\b(?:File|Image|Category):",
        "image": r"\|\s*thumb\b|\b\d+px\b",
        "emphasis": r"''",
        "tag": r"</?(?:ref|br|small|sup|sub|div|span|math|blockquote|center|nowiki|li|i|b)\b",
        "entity": r"&(?:[a-z]+|#\d+);",
        "heading": r"^=|=$|==",
        "list mark": r"^[*#:;]",
        "punctuation begins a line": r"^[,.;:)\]](?!\.)",
        "switch": r"__[A-Z]+__",
        "book number": r"\bISBN\b",
        "address": r"https?://",
        "footnote mark": r"[.)]\[\d",
        "control or invisible character": r"[\x00-\x09\x0b-\x1f\x7f\u200b\u200e\u200f\ufeff]",
        "amount without number": r"(?<!US)\$\s*[(,;.]",
        "line without words": r"^\W+$",
    }
)


@pytest.mark.parametrize("what", LEFTOVERS)
def test_no_leftovers_in_the_real_text(packaged, what):
    pattern = re.compile(LEFTOVERS[what], re.MULTILINE)
    found = [
        text[max(0, match.start() - 30) : match.end() + 30]
        for texts in packaged.values()
        for text in texts
        for match in pattern.finditer(text)
    ]
    assert found == []


def test_the_leftover_patterns_find_leftovers():
    naive = (
        "Algeria ( ; , local:) is () big ,, and ;; old .. It  is . \n\n\n{| class=x\n|| [[File:a"
        "|thumb|20px]] ''b'' <br> &nbsp;\n== H ==\n* item\n, then __TOC__ ISBN 1 http://x .[3] "
        "\u200b $ (\n...\n"
    )
    missed = [name for name, p in LEFTOVERS.items() if not re.search(p, naive, re.MULTILINE)]
    assert missed == []


def test_real_text_is_whole_and_split_by_article(packaged):
    articles = {split: len(texts) for split, texts in packaged.items()}
    characters = {split: sum(map(len, texts)) for split, texts in packaged.items()}
    assert articles == {"calibration": 66, "validation": 15, "test": 16}
    total = sum(characters.values())
    assert 2.7e6 < total < 2.9e6
    assert 0.65 < characters["calibration"] / total < 0.75
    assert 0.10 < characters["validation"] / total < 0.15
    assert 0.15 < characters["test"] / total < 0.20
    # representative: no article is more than a sixth of the test text
    assert max(map(len, packaged["test"])) < characters["test"] / 6


def test_real_articles_begin_with_their_title_and_keep_their_sentences(packaged):
    andorra = next(text for text in packaged["validation"] if text.startswith("Andorra\n"))
    assert andorra.startswith(
        "Andorra\n\nAndorra, officially the Principality of Andorra (Principat d'Andorra), also "
        "called the Principality of the Valleys of Andorra (Principat de les Valls d'Andorra), is "
        "a sovereign landlocked microstate"
    )
    assert "\n\nEtymology\n\nThe origin of the word Andorra is unknown" in andorra
    assert "\nReferences\n" not in andorra


def test_splits_share_no_paragraph(packaged):
    paragraphs = {
        split: {line for text in texts for line in text.split("\n") if len(line) > 60}
        for split, texts in packaged.items()
    }
    for one, other in combinations(paragraphs, 2):
        assert paragraphs[one] & paragraphs[other] == set()


def every_block(split, texts, tokenizer):
    return joined_blocks(
        texts,
        tokenizer,
        name="wikipedia",
        split=split,
        join="\n\n",
        context_tokens=512,
        count=None,
        choice="first",
    )


@pytest.fixture(scope="module")
def words(packaged):
    """One token a word: quick, and exact enough to tell blocks apart."""
    return word_tokenizer(text for texts in packaged.values() for text in texts)


@pytest.fixture(scope="module")
def all_blocks(packaged, words):
    return {split: every_block(split, texts, words) for split, texts in packaged.items()}


def test_real_splits_are_disjoint_by_hash(all_blocks, packaged, words):
    assert sum(len(blocks.ids) for blocks in all_blocks.values()) > 800
    check_disjoint(all_blocks)
    # and an article that strayed would be found
    strayed = every_block("test", [packaged["test"][0], packaged["calibration"][3]], words)
    with pytest.raises(RadioError, match=r"calibration and test of wikipedia share 0 .* and 1 doc"):
        check_disjoint({**all_blocks, "test": strayed})


def test_cleaning_again_gives_the_same(dump, packaged):
    again = [f"{title}\n\n{text}" for title, text in wikipedia.clean_articles(dump)]
    kept = {text for texts in packaged.values() for text in texts}
    assert kept <= set(again)
    assert len(again) == len(kept) + 2  # two are too short


def test_configured_blocks_are_spread_over_the_articles(all_blocks, packaged, pinned, words):
    splits = load_text(pinned, words)
    assert set(splits) == {"calibration", "validation", "test"}
    for split, blocks in splits.items():
        every, count = all_blocks[split].ids, pinned.blocks[split]
        label = rf"wikipedia-{split}/512x{count}/evenly-spaced/bos=none/join=\n\n"
        assert blocks.protocol == label
        assert torch.equal(blocks.ids, choose_blocks(every, count, "evenly-spaced"))
        assert len(blocks.documents) == len(packaged[split])
    middles = [words.decode(row[200:300]) for row in splits["test"].ids]
    flat = [" ".join(text.split()) for text in packaged["test"]]
    articles = {index for part in middles for index, text in enumerate(flat) if part in text}
    assert len(articles) >= 12


PAGE = "<page><title>{}</title><ns>{}</ns>{}<revision><text>{}</text></revision></page>"


def fake_dump(path, titles):
    pages = [PAGE.format(title, 0, "", f"{title} is '''long'''. " * 60) for title in titles]
    pages += [
        PAGE.format("Moved", 0, '<redirect title="Ares" />', "#REDIRECT " + "x" * 2000),
        PAGE.format("Talk:Ares", 1, "", "chat " * 500),
        PAGE.format("Mercury", 0, "", "{{Disambiguation|geo}} " + "a planet " * 500),
        PAGE.format("Stub", 0, "", "Too short."),
    ]
    xml = (
        f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">{"".join(pages)}</mediawiki>'
    )
    path.write_bytes(bz2.compress(xml.encode()))
    return path


@pytest.fixture
def small(tmp_path, monkeypatch, pinned):
    """The packaged text over a small dump, with a cache of its own; counts how often it is read."""
    reads = []
    dump = fake_dump(tmp_path / "dump.bz2", [f"Thing {index}" for index in range(40)])

    def member(*_):
        reads.append(1)
        return dump

    monkeypatch.setenv("RADIO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(wikipedia, "wheel_member", member)
    monkeypatch.setattr(wikipedia, "progress", lambda items, _: items)
    fields = {key: value for key, value in pinned.items() if not str(key).startswith("_")}
    text = wikipedia.Wikipedia(**OmegaConf.to_container(OmegaConf.create(fields)))
    return text, reads, tmp_path


def test_only_articles_are_taken(small):
    text, _, _ = small
    titles = {part.split("\n")[0] for texts in text.documents().values() for part in texts}
    assert titles == {f"Thing {index}" for index in range(40)}


def test_cleaned_text_is_cached_and_a_corrupt_cache_is_made_again(small, caplog):
    text, reads, folder = small
    first = text.documents()
    assert text.documents() == first
    assert len(reads) == 1
    (cache,) = (folder / "cache" / "wikipedia").glob("*.json")
    whole = cache.read_bytes()
    for damaged in (whole[:-40], whole.replace(b"is long", b"is lung", 1), b"[]", b"{}", b"\xff"):
        cache.write_bytes(damaged)
        caplog.clear()
        assert text.documents() == first
        assert "corrupt in the cache and is made again" in caplog.text
        assert cache.read_bytes() == whole


def test_a_broken_dump_is_told(small, monkeypatch):
    text, _, folder = small
    dump = folder / "dump.bz2"
    whole = dump.read_bytes()
    for damaged in (whole[:-20], b"not bzip2", bz2.compress(b"<mediawiki><page>")):
        dump.write_bytes(damaged)
        with pytest.raises(RadioError, match=r"dump\.bz2 is not a whole Wikipedia dump"):
            text.documents()
    assert not (folder / "cache").exists()
