"""How much of texts a model reads: which are too long, and what its vocabulary lacks."""

import logging
from dataclasses import asdict, dataclass
from typing import Any

from mvcn.errors import count_of

LOG = logging.getLogger(__name__)
NOTABLE = 0.01
"""Share of texts or word pieces above which a warning is worth while."""
MORE = ": train with --set model.max_tokens={}"
SERIOUS = 0.05
"""Share of unknown word pieces above which another text encoder is advisable."""
REMEDY = (
    ": train with a multilingual one, such as --set "
    "model.text_encoder=sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2 or "
    "--set model.text_encoder=FacebookAI/xlm-roberta-base"
)
"""Encoders of the Hugging Face hub that were trained on texts in 50 and in 100 languages."""


@dataclass(frozen=True, slots=True)
class TextCounts:
    """Counts over any number of texts; the sum of two is that over the texts of both."""

    texts: int = 0
    """Texts that are not empty."""
    truncated: int = 0
    """Texts of which only the first `max_tokens` word pieces are read."""
    word_pieces: int = 0
    """Word pieces that are read, without the marks that the tokenizer adds."""
    unknown_word_pieces: int = 0
    """Those of them that are not in the vocabulary, such as letters of another alphabet."""
    max_tokens: int = 0
    """Most word pieces of a text that are read, with the tokenizer's marks."""

    def __add__(self, other: "TextCounts") -> "TextCounts":
        return TextCounts(
            self.texts + other.texts,
            self.truncated + other.truncated,
            self.word_pieces + other.word_pieces,
            self.unknown_word_pieces + other.unknown_word_pieces,
            max(self.max_tokens, other.max_tokens),
        )

    @property
    def unknown_share(self) -> float:
        """Share of the word pieces that are unknown, from 0 to 1."""
        return self.unknown_word_pieces / max(self.word_pieces, 1)

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"unknown_share": self.unknown_share}

    def log(self) -> bool:
        """Log truncated texts and many unknown word pieces; return whether there are any."""
        has_many_unknown = self.unknown_share > NOTABLE
        if self.truncated:
            is_notable = self.truncated > NOTABLE * self.texts
            LOG.log(
                logging.WARNING if is_notable else logging.INFO,
                "%s longer than %d word pieces, and the rest is not read%s.",
                count_of(self.truncated, "text is", "texts are"),
                self.max_tokens,
                MORE.format(2 ** self.max_tokens.bit_length()) if is_notable else "",
            )
        if has_many_unknown:
            LOG.warning(
                "%.1f %% of the word pieces of the texts are not in the vocabulary of the text "
                "encoder, which ignores them%s.",
                *(100 * self.unknown_share, REMEDY if self.unknown_share > SERIOUS else ""),
            )
        return self.truncated > 0 or has_many_unknown
