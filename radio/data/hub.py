"""The paper's texts, loaded with `datasets`, by the GPTQ protocols that the paper follows.

Both can be read from a local folder instead of the hub (`data.path=DIR`) with the layout of the
hub's repository. The protocols only take existing documents and tokens; nothing is padded.
"""

import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from radio.data.encoding import encode
from radio.data.joined import JoinedText
from radio.data.tokens import (
    TokenSequences,
    bos_rule,
    check_sizes,
    hashed_blocks,
    joined_blocks,
    protocol_label,
)
from radio.runtime.errors import RadioError
from radio.runtime.kinds import Blocks, Commit, ContextTokens, Count, File, Word

NO_SPACE = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
ARTICLE = re.compile(r" = [^=].* = \n")


@dataclass(frozen=True, kw_only=True)
class HubFiles:
    """Location of the rows of a text.

    Attributes:
        repo_id: dataset repository on the hub.
        revision: commit of the repository.
        config: named configuration to load; None to load single `files`.
        files: file of each of the dataset's own splits, by its path in the repository.
    """

    repo_id: Word
    revision: Commit
    config: Word | None
    files: Mapping[str, File]

    def rows(self, split: str, folder: str | None) -> Iterator[str]:
        """Yield the column `text` of the dataset's `split`, row by row.

        Args:
            split: the dataset's own name for it.
            folder: local folder with the files, used instead of the hub; None for the hub.

        Raises:
            RadioError: the dataset cannot be loaded.
        """
        import datasets

        try:
            table = datasets.load_dataset(**self._request(split, folder))
            column = table["text"]
        except RadioError:
            raise
        except Exception as error:  # hub, parser and cache errors share no base class
            raise self._explained(error, split, folder) from error
        yield from column

    def _request(self, split: str, folder: str | None) -> dict[str, object]:
        """Return the arguments of `datasets.load_dataset`."""
        if folder is not None:
            file = Path(folder).expanduser() / self.files[split]
            if not file.is_file():
                raise RadioError(
                    f"data.path={folder} has no file {self.files[split]}: give a folder laid "
                    f"out like the hub's repository {self.repo_id}"
                )
            kind = "parquet" if file.suffix == ".parquet" else "json"
            return {"path": kind, "data_files": {split: str(file)}, "split": split}
        request: dict[str, object] = {"path": self.repo_id, "split": split}
        if self.config is not None:
            request["name"] = self.config
        else:
            request["data_files"] = {split: self.files[split]}
        return {**request, "revision": self.revision}

    def _explained(self, error: Exception, split: str, folder: str | None) -> RadioError:
        """Return a one-sentence error for any exception of `datasets`."""
        source = self.repo_id if folder is None else f"{self.files[split]} in {folder}"
        lines = str(error).strip().splitlines() or [""]
        reason = f"{type(error).__name__}: {lines[0][:200]}"
        if any(words in str(error) for words in NO_SPACE):
            remedy = "free some disk, or set HF_HOME to a folder on a larger one"
        elif folder is not None:
            remedy = "the file is corrupt or has no column 'text'; copy it from the hub again"
        else:
            remedy = (
                "connect to the network, set HF_HOME to a cache that holds it or HF_ENDPOINT to a "
                f"mirror, or give data.path=DIR with the file {self.files[split]}"
            )
        return RadioError(f"{source} cannot be loaded ({reason}): {remedy}")


@dataclass(frozen=True, kw_only=True)
class WikiText2(JoinedText):
    """WikiText-2 (raw): rows of a split joined by two newlines and cut; the remainder is dropped.

    Attributes:
        source: the three files of the dataset.
        path: local folder with them; None for the hub.
    """

    source: HubFiles
    path: File | None = None

    def documents(self) -> dict[str, list[str]]:
        """Return the rows of each split, including blank rows and headings."""
        own = {"calibration": "train", "validation": "validation", "test": "test"}
        return {split: list(self.source.rows(name, self.path)) for split, name in own.items()}

    def identities(self, documents: Sequence[str]) -> Sequence[str]:
        """Return whole articles: single rows (a heading, a blank line) recur in all splits."""
        articles: list[str] = []
        for row in documents:
            if ARTICLE.fullmatch(row) or not articles:
                articles.append("")
            articles[-1] += row
        return articles


@dataclass(frozen=True, kw_only=True)
class C4:
    """C4 as in GPTQ ("c4-new").

    Calibration: the first `context_tokens` tokens of the first documents of the train shard that
    are long enough. Test: the first `joined_documents` documents of the validation shard, joined
    and tokenized once; the first sequences. Validation, for model selection: the same rule on the
    train documents after the calibration documents.

    Attributes:
        name: name of its YAML file.
        context_tokens: length of a sequence.
        blocks: calibration documents, and sequences of validation and test.
        joined_documents: number of documents joined for validation and for test.
        join: separator of two joined documents.
        source: the shards, by the dataset's own split names train and validation.
        path: local folder with them; None for the hub.
    """

    name: Word
    context_tokens: ContextTokens
    blocks: Blocks
    joined_documents: Count
    join: str
    source: HubFiles
    path: str | None = None

    def splits(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, TokenSequences]:
        """Return the sequences of each split.

        Raises:
            RadioError: a size is invalid, or a shard is unavailable or too short for the protocol.
        """
        check_sizes(self.name, self.context_tokens, self.blocks)
        if self.blocks["calibration"] is None:
            raise RadioError(
                f"data.blocks.calibration=null of data={self.name} would tokenize the whole shard: "
                "give a number"
            )
        train = self.source.rows("train", self.path)
        return {
            "calibration": self._long_documents(train, tokenizer),
            "validation": self._joined("validation", train, tokenizer),
            "test": self._joined("test", self.source.rows("validation", self.path), tokenizer),
        }

    def _long_documents(
        self, rows: Iterable[str], tokenizer: PreTrainedTokenizerBase
    ) -> TokenSequences:
        """Return the beginnings of the first long enough documents; `rows` continues after them."""
        wanted = self.blocks["calibration"]
        documents, beginnings = [], []
        for document in rows:
            ids = encode(tokenizer, document)
            if len(ids) >= self.context_tokens:
                documents.append(document)
                beginnings.append(ids[: self.context_tokens])
            if len(documents) == wanted:
                break
        else:
            raise RadioError(
                f"data={self.name} has {len(documents)} documents of at least "
                f"{self.context_tokens} tokens to calibrate on, not {wanted}: lower "
                "data.blocks.calibration or data.context_tokens, or give more text"
            )
        blocks = torch.stack(beginnings)
        bos = bos_rule(tokenizer, blocks[0]).replace("once", "per-document")
        how = "first-long-documents"
        label = protocol_label(self.name, "calibration", blocks, how, bos, None)
        return hashed_blocks(blocks, label, documents)

    def _joined(
        self, split: str, rows: Iterable[str], tokenizer: PreTrainedTokenizerBase
    ) -> TokenSequences:
        """Return the sequences of the next documents of `rows`, joined and cut."""
        return joined_blocks(
            list(islice(rows, self.joined_documents)),
            tokenizer,
            name=self.name,
            split=split,
            join=self.join,
            context_tokens=self.context_tokens,
            count=self.blocks[split],
            choice="first",
        )
