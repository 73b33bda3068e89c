"""Generated texts, noisy as those of users: some words depend on the class."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from scripts.studies.tasks.words import Vocabulary

WriteText = Callable[[str, Generator], str]
"""Writes a text of a class."""

LONG_TEXT_WORDS = 110
"""After so many words comes the end."""
SKEW = 3
"""The n-th word of a class is as frequent as 1 / (`SKEW` + n - 1)."""
MISSPELL, SHOUT = 0.02, 0.02
"""Chances that a word has two letters swapped, and that it is in capitals."""
CUT_END, MENTION, LINK = 0.1, 0.08, 0.08
"""Chances of a text without its last mark, with a mention before it, and with a link after it."""
MIN_MISSPELLED = 4
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def writer(vocabulary: Vocabulary, purity: float) -> WriteText:
    """Return what fills the templates of a vocabulary.

    Args:
        vocabulary: Its classes are those of the texts.
        purity: Chance that a word that depends on the class is one of its own, not of another
            class.
    """

    def write(label: str, generator: Generator) -> str:
        return _add_noise(_sentence(vocabulary, label, purity, generator), generator)

    return write


def long_writer(vocabulary: Vocabulary, purity: float) -> WriteText:
    """Return what writes texts of some 120 words, of which the last ones alone tell the class."""

    def write(label: str, generator: Generator) -> str:
        before = replace(vocabulary, templates=vocabulary.sentences)
        sentences: list[str] = []
        while sum(len(one.split()) for one in sentences) < LONG_TEXT_WORDS:
            sentences.append(_sentence(before, label, purity, generator))
        sentences.insert(int(generator.integers(len(sentences))), _doubt(vocabulary, generator))
        end = _sentence(vocabulary, label, purity, generator)
        return _add_noise(" ".join([*sentences, end]), generator)

    return write


def _doubt(vocabulary: Vocabulary, generator: Generator) -> str:
    """Return a sentence with a word of each of two classes, in any order."""
    one, other = generator.permutation(list(vocabulary.cues)).tolist()
    fillers = {**vocabulary.fillers, "other": vocabulary.cues[other]}
    doubts = replace(vocabulary, templates=vocabulary.doubts, fillers=fillers)
    return _sentence(doubts, one, 1.0, generator)


def _sentence(vocabulary: Vocabulary, label: str, purity: float, generator: Generator) -> str:
    others = [name for name in vocabulary.cues if name != label]

    def word(slot: re.Match[str]) -> str:
        if slot[1] != "cue":
            return _choose(vocabulary.fillers[slot[1]], generator)
        name = label if generator.random() < purity else _choose(others, generator)
        cues = vocabulary.cues[name]
        weights = 1 / (SKEW + np.arange(len(cues)))
        return cues[generator.choice(len(cues), p=weights / weights.sum())]

    return re.sub(r"{(\w+)}", word, _choose(vocabulary.templates, generator))


def _choose(options: Sequence[str], generator: Generator) -> str:
    return options[generator.integers(len(options))]


def _add_noise(text: str, generator: Generator) -> str:
    found = " ".join(_add_noise_to_word(word, generator) for word in text.split(" "))
    if generator.random() < CUT_END:
        found = found.rstrip(".!? ")
    if generator.random() < MENTION:
        found = f"RT @{_letters(6, generator)}: {found}"
    if generator.random() < LINK:
        found = f"{found} https://t.co/{_letters(8, generator)}"
    return found


def _add_noise_to_word(word: str, generator: Generator) -> str:
    if not word.isascii():
        return word
    if word.isalpha() and len(word) >= MIN_MISSPELLED and generator.random() < MISSPELL:
        i = int(generator.integers(1, len(word) - 1))
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    return word.upper() if generator.random() < SHOUT else word


def _letters(count: int, generator: Generator) -> str:
    return "".join(LETTERS[i] for i in generator.integers(len(LETTERS), size=count))
