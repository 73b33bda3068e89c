"""The words and templates of generated texts, as words.yaml has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, permutations
from pathlib import Path
from typing import Any

import numpy as np
import yaml

NUM_INTENTS = 60
COMPOUNDS_PER_INTENT = 2


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the texts of a task are made of."""

    cues: Mapping[str, Sequence[str]]
    """Class -> its words."""
    fillers: Mapping[str, Sequence[str]]
    """Slot of a template -> words that any class has."""
    templates: Sequence[str]
    sentences: Sequence[str] = field(default=())
    """Templates of what comes before them in a long text."""
    doubts: Sequence[str] = field(default=())
    """Templates with a word of each of two classes, for there, too."""


def _read(content: Mapping[str, Any]) -> Vocabulary:
    lists = {
        name: {key: words.split() for key, words in content.get(name, {}).items()}
        for name in ("cues", "fillers")
    }
    return Vocabulary(**{**content, **lists})


def _support_desk(content: Mapping[str, Any], stems: Sequence[str]) -> Vocabulary:
    """Return a vocabulary of many classes: each has compounds of its own.

    Their parts are those of other classes' compounds, too.
    """
    pairs = ["".join(pair) for pair in permutations(stems, 2)]
    own = iter(pairs[i] for i in np.random.default_rng(0).permutation(len(pairs)))
    compounds = {
        f"intent-{i + 1:02d}": " ".join(islice(own, COMPOUNDS_PER_INTENT))
        for i in range(NUM_INTENTS)
    }
    return _read({**content, "cues": compounds})


_CONTENT = yaml.safe_load(Path(__file__).with_name("words.yaml").read_text("utf-8"))
SUPPORT = _support_desk(_CONTENT["support"], _CONTENT["stems"].split())
SENTIMENT, COMPLAINTS, REPORTS, VERDICTS, CHAT, CHINESE, KOREAN, HINDI = (
    _read(_CONTENT[name])
    for name in (
        *("sentiment", "complaints", "reports", "verdicts"),
        *("chat", "chinese", "korean", "hindi"),
    )
)
