"""Documents whose sentences state their document and position."""

import hashlib
from collections.abc import Mapping

WORDS = ["river", "mountain", "music", "history", "harbour", "engine", "garden", "winter"]


def sentence(document: int, place: int) -> str:
    """Return a sentence of about 60 characters that ends in a lower-case word."""
    digest = hashlib.sha256(f"{document} {place}".encode()).digest()
    first, second, third = (WORDS[byte % len(WORDS)] for byte in digest[:3])
    clause = f"a {first} and a {second} are one {third}"
    return f"Document {document} says in sentence {place} that {clause}."


def documents(count: int = 4, paragraphs: int = 8, length: int = 6) -> list[str]:
    """Return documents with a title and paragraphs of `length` sentences."""
    return [
        "\n\n".join(
            [
                f"Title {document}",
                *(
                    " ".join(sentence(document, paragraph * length + n) for n in range(length))
                    for paragraph in range(paragraphs)
                ),
            ]
        )
        for document in range(count)
    ]


def written(text: str) -> Mapping[str, object]:
    """Return the document and the position that a sentence states."""
    words = text.split()
    return {"document": int(words[1]), "place": int(words[5])}
