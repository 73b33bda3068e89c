"""Tables of losses on features over regimes of real data."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from scripts.results import interval
from scripts.tables.markdown import PERCENT, table

REFERENCE, OURS = "cross-entropy", "semantic congruity"
FAMILIES = ("pairs of digits", "hashtags of HFM")
"""Data sets by their number of classes, which are not changed otherwise."""
AS_IT_IS = "classes"
"""The regime of which each level is a data set as it is."""
NUMBERS_OF_CLASSES = (2, 5, 10, 25, 50, 100)
"""What a number of classes counts as: pairs of digits have only squares, such as 49."""
UNCHANGED = "as they are"

Entry = Mapping[str, Any]


def by_regime(content: Mapping[str, Any]) -> dict[tuple[str, str], list[Entry]]:
    """Return regime and level -> what was measured there, one entry for each data set."""
    found: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for one in content["regimes"]:
        if one["regime"] == AS_IT_IS and one["data"] not in FAMILIES:
            found[UNCHANGED, "-"].append(one)
        else:
            found[one["regime"], f"{_level(one):g}"].append(one)
    numbers = [f"{number:g}" for number in NUMBERS_OF_CLASSES]
    order = {(AS_IT_IS, number): place for place, number in enumerate(numbers)}
    return dict(sorted(found.items(), key=lambda item: order.get(item[0], -1)))


def _level(one: Entry) -> float:
    level = float(one["level"])
    if one["regime"] != AS_IT_IS:
        return level
    return min(NUMBERS_OF_CLASSES, key=lambda number: abs(number - level))


def mean_gain(entries: Sequence[Entry], loss: str) -> tuple[float, float, float]:
    """Return the mean gain over data sets of a loss, with its 95 % interval over draws."""
    gains = [
        [
            a - b
            for a, b in zip(*(one["losses"][n]["scores"] for n in (loss, REFERENCE)), strict=True)
        ]
        for one in entries
    ]
    return interval([sum(of_draw) / len(gains) for of_draw in zip(*gains, strict=True)])


def _regimes(content: Mapping[str, Any]) -> str:
    """The mean gain of each loss over cross-entropy, by regime."""
    names = [name for name in content["regimes"][0]["losses"] if name != REFERENCE]
    rows = [
        [*place, str(len(entries)), *(_points(mean_gain(entries, name)) for name in names)]
        for place, entries in by_regime(content).items()
    ]
    note = (
        "Points of macro F1 more than by cross-entropy alone: mean over the data sets, and 95 % "
        f"interval over {content['seeds']} draws."
    )
    return table(("regime", "level", "data sets", *names), rows, note)


def _congruity(content: Mapping[str, Any]) -> str:
    """Where semantic congruity is better or worse than cross-entropy, of all data and regimes."""
    rows = []
    for one in content["regimes"]:
        ours = one["losses"][OURS]
        if ours["interval"][0] <= 0 <= ours["interval"][1]:
            continue
        place = [one["data"], one["regime"], f"{one['level']:g}", f"{one['train_rows']:,}"]
        score = sum(one["losses"][REFERENCE]["scores"]) / content["seeds"]
        gain = _points((ours["gain"], *ours["interval"]))
        rows.append([*place, f"{PERCENT * score:.1f}", f"{ours['weight']:g}", gain])
    header = ("data", "regime", "level", "training rows", "macro F1 of cross-entropy", "weight")
    note = (
        f"The {len(rows)} of {len(content['regimes'])} measurements in which the interval, over "
        "draws and test rows, does not contain 0; one in twenty would by chance."
    )
    return table((*header, "gain of the constraint, points"), rows, note)


def _points(values: tuple[float, float, float]) -> str:
    mean, low, high = (f"{PERCENT * value:+.1f}" for value in values)
    return f"{mean} ({low} to {high})"


TABLES = {"regimes": _regimes, "regimes-congruity": _congruity}
FILES = {"regimes-congruity": "regimes"}
