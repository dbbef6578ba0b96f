"""The packaged text: an excerpt of English Wikipedia (April 2016) from the gensim wheel.

97 articles, converted to prose (`radio.data.wikimarkup`) and split by article. A hash of the title
decides the split, so changes to other articles do not move an article. The text is licensed CC
BY-SA 3.0.
"""

import bz2
import hashlib
import importlib.metadata
import logging
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from omegaconf import OmegaConf

from radio.data import templates, wikimarkup
from radio.data.joined import JoinedText
from radio.runtime.errors import RadioError
from radio.runtime.files import read_json, write_json
from radio.runtime.kinds import Requirement, Sha256, Shares, Word, at_least
from radio.runtime.progress import progress
from radio.runtime.wheel import REPOSITORY, cache_dir, sha256_of, wheel_member

log = logging.getLogger(__name__)

ARTICLES = "0"  # namespace of articles, not of talk pages, categories, ...
DISAMBIGUATION = re.compile(r"\{\{\s*disambig", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Wikipedia(JoinedText):
    """Articles of a dump inside a wheel.

    Attributes:
        requirement: the pinned wheel: "gensim==4.4.0".
        member: path pattern of the dump inside the wheel.
        sha256: hash of the dump.
        shares: fractions of the articles for validation and test; the rest is for calibration.
        min_characters: shorter articles are left out.
    """

    requirement: Requirement
    member: Word
    sha256: Sha256
    shares: Shares
    min_characters: Annotated[int, at_least(0)] = 1000

    def documents(self) -> dict[str, list[str]]:
        """Return the articles of each split, in the order of the dump; each begins with its title.

        Raises:
            RadioError: the wheel is unavailable or is not the pinned one.
        """
        splits: dict[str, list[str]] = {"calibration": [], "validation": [], "test": []}
        for title, text in self._cleaned().items():
            if len(text) >= self.min_characters:
                splits[split_of(title, self.shares)].append(f"{title}\n\n{text}")
        return splits

    def _cleaned(self) -> dict[str, str]:
        """Return the prose by title, from the cache if it is there and complete."""
        cache = cache_dir() / "wikipedia" / f"{_fingerprint(self.sha256)}.json"
        if cache.exists():
            try:
                stored = read_json(cache)
                if stored["sha256"] == _hash(stored["articles"]):
                    return dict(stored["articles"])
            except (RadioError, KeyError, TypeError, AttributeError):
                pass  # reported below, like a wrong hash
            log.warning("%s is corrupt in the cache and is made again", cache)
        dump = wheel_member(self.requirement, self.member, self.sha256, cache_dir())
        articles = dict(clean_articles(dump))
        write_json(cache, {"sha256": _hash(articles), "articles": articles})
        return articles


def articles() -> dict[str, list[str]]:
    """Return the articles of each split of the text in `config/data/wikipedia.yaml`.

    Raises:
        RadioError: see `Wikipedia.documents`.
    """
    from hydra.utils import instantiate

    text: Wikipedia = instantiate(OmegaConf.load(REPOSITORY / "config/data/wikipedia.yaml"))
    return text.documents()


def split_of(title: str, shares: Mapping[str, float]) -> str:
    """Return the split of an article: a hash maps its title to [0, 1): test, validation, the rest.

    >>> shares = {"validation": 0.14, "test": 0.15}
    >>> [split_of(title, shares) for title in ("Animal Farm", "Algeria", "Autism")]
    ['test', 'validation', 'calibration']
    """
    place = int.from_bytes(hashlib.sha256(title.encode()).digest()[:8], "big") / 2**64
    if place < shares["test"]:
        return "test"
    return "validation" if place < shares["test"] + shares["validation"] else "calibration"


def clean_articles(dump: Path) -> Iterator[tuple[str, str]]:
    """Yield (title, prose) of every article of a dump, without redirects and disambiguation pages.

    Raises:
        RadioError: the file is not a bzip2-compressed dump.
    """
    try:
        pages = list(_pages(dump))
    except (OSError, EOFError, ElementTree.ParseError) as error:
        raise RadioError(
            f"{dump} is not a whole Wikipedia dump ({error}): delete it and run again"
        ) from error
    for title, markup in progress(pages, "cleaning wikipedia"):
        yield title, wikimarkup.prose(markup)


def _pages(dump: Path) -> Iterator[tuple[str, str]]:
    """Yield (title, markup) of the pages that are articles."""
    with bz2.open(dump) as file:
        for _, page in ElementTree.iterparse(file):
            if not page.tag.endswith("}page"):
                continue
            markup = page.findtext("{*}revision/{*}text") or ""
            is_article = page.findtext("{*}ns") == ARTICLES and page.find("{*}redirect") is None
            if is_article and not DISAMBIGUATION.search(markup):
                yield page.findtext("{*}title") or "", markup
            page.clear()


def _fingerprint(source_sha256: str) -> str:
    """Return the hash of the source and of the code that cleans it."""
    code = [Path(str(module.__file__)) for module in (templates, wikimarkup)]
    parser = importlib.metadata.version("mwparserfromhell")
    parts = [source_sha256, parser, *(sha256_of(path) for path in code)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def _hash(articles: Mapping[str, str]) -> str:
    """Return the hash of titles and texts."""
    content = "\x00".join(f"{title}\x01{text}" for title, text in articles.items())
    return hashlib.sha256(content.encode()).hexdigest()
