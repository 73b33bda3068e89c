"""Faults of posts: garbled texts, bad images, duplicates, and what duplicates do to splits."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, zip_longest
from statistics import fmean
from typing import Any

import ftfy
from ftfy.badness import is_bad

from mvcn.audit.findings import AuditedPosts, Example, Finding
from mvcn.data.near_duplicates import (
    WEB_ADDRESS,
    exact_groups,
    near_duplicate_images,
    near_duplicate_texts,
    plain_text,
)
from mvcn.errors import count_of
from mvcn.types import ImageFacts

Groups = Sequence[Sequence[int]]
"""Groups of positions of posts."""

REPLACEMENT_CHARACTER = "\ufffd"
LETTER_OR_DIGIT = re.compile(r"\w")
MENTION = re.compile(r"(?<!\w)@\w+|\bRT\b")
SHORT_CHARACTERS = 10
"""Texts with fewer letters and digits, not counting addresses and mentions, are very short."""
LONG_CHARACTERS = 1000
"""Texts with more are very long: text encoders truncate them."""
MAX_NAMED = 3
"""Posts that a summary names; the JSON file has all of them."""
MAX_ID_CHARACTERS = 40
"""Of an id in a summary."""
BLANK_CONTRAST = 1.0
"""Images whose grey values, 0 to 255, have a smaller standard deviation are blank."""
MIN_SIDE_PX = 32
"""Images with a shorter side are tiny: encoders see them blurred beyond recognition."""
IMAGE_FAULTS = ("missing", "broken", "truncated", "blank", "tiny", "extreme_aspect_ratio")
MAX_ASPECT_RATIO = 5.0
"""Images with a larger ratio are squeezed or cropped to almost nothing."""
EQUAL_OF_SIMILAR = {"similar_text": "equal_text", "similar_image": "equal_image"}
"""Kind of near-duplicates -> the kind of exact ones among them."""
SAME_ID = "same_id"
ANY = "any"


def find_encodings(audited: AuditedPosts) -> Finding:
    """Return the posts whose text was not stored in UTF-8."""
    position = {post.id: i for i, post in enumerate(audited.posts)}
    examples = [
        Example((position[post_id],), encoding)
        for encoding, ids in audited.encodings.items()
        for post_id in ids
        if post_id in position
    ]
    count = sum(len(ids) for ids in audited.encodings.values())
    ids = {encoding: list(ids) for encoding, ids in audited.encodings.items()}
    return Finding(count, {"ids": ids}, examples, ", ".join(audited.encodings))


def find_mojibake(audited: AuditedPosts) -> Finding:
    """Return garbled texts, each with its fixed encoding where there is one.

    A text is garbled if ftfy's heuristic finds sequences of characters in it that are rare except
    where UTF-8 was decoded as something else, or if it holds a replacement character (U+FFFD).
    """
    garbled, replaced, examples = [], [], []
    for i, post in enumerate(audited.posts):
        if REPLACEMENT_CHARACTER in post.text:
            replaced.append(post.id)
            examples.append(Example((i,), "holds replacement characters"))
        elif not post.text.isascii() and is_bad(post.text):
            text = ftfy.fix_encoding(post.text)
            fixed = None if text == post.text else text
            garbled.append({"id": post.id, "text": post.text, "fixed": fixed})
            examples.append(Example((i,), f"fixed: {fixed}" if fixed else "cannot be fixed"))
    details = {"garbled": garbled, "replacement_character": replaced}
    summary = f"{len(replaced)} with replacement characters" if replaced else ""
    return Finding(len(examples), details, examples, summary)


def find_unusual_texts(audited: AuditedPosts) -> Finding:
    """Return the posts with unusual texts, by fault."""
    found: dict[str, list[int]] = {"empty": [], "no_words": [], "very_short": [], "very_long": []}
    for i, post in enumerate(audited.posts):
        fault = _fault_of_text(post.text)
        if fault is not None:
            found[fault].append(i)
    return _by_fault(audited, found)


def find_faulty_images(audited: AuditedPosts) -> Finding:
    """Return the posts with faulty images, by fault; one image may have several."""
    found: dict[str, list[int]] = {fault: [] for fault in IMAGE_FAULTS}
    notes = {}
    for i, facts in enumerate(audited.facts):
        if facts is None:
            continue
        for fault in faults_of_image(facts):
            found[fault].append(i)
        remark = facts.problem or facts.truncation
        if remark is not None:
            notes[i] = remark
    finding = _by_fault(audited, found, notes)
    reasons = {audited.posts[i].id: reason for i, reason in notes.items()}
    return replace(finding, details={**finding.details, "reasons": reasons})


def faults_of_image(facts: ImageFacts) -> list[str]:
    """Return the names of an image's faults."""
    if facts.problem is not None:
        return ["broken" if facts.digest else "missing"]
    shorter, longer = sorted((facts.width_px, facts.height_px))
    is_fault = {
        "truncated": facts.truncation is not None,
        "blank": facts.contrast < BLANK_CONTRAST,
        "tiny": shorter < MIN_SIDE_PX,
        "extreme_aspect_ratio": longer > MAX_ASPECT_RATIO * shorter,
    }
    return [name for name, found in is_fault.items() if found]


def _fault_of_text(text: str) -> str | None:
    if not text.strip():
        return "empty"
    length = len(LETTER_OR_DIGIT.findall(MENTION.sub(" ", WEB_ADDRESS.sub(" ", text))))
    if length == 0:
        return "no_words"
    if length < SHORT_CHARACTERS:
        return "very_short"
    return "very_long" if length > LONG_CHARACTERS else None


def _by_fault(
    audited: AuditedPosts,
    found: Mapping[str, Sequence[int]],
    notes: Mapping[int, str] | None = None,
) -> Finding:
    """Return the finding of posts by fault.

    Args:
        audited: The posts.
        found: Fault -> positions of the posts that have it.
        notes: Position -> note on the post, in place of the fault's name.
    """
    notes = notes or {}
    examples = [
        Example((i,), notes.get(i, _spaced(fault)))
        for fault, positions in found.items()
        for i in positions
    ]
    count = len({i for positions in found.values() for i in positions})
    details = {fault: audited.ids(positions) for fault, positions in found.items()}
    counts = [_count(fault, ids) for fault, ids in details.items() if ids]
    return Finding(count, details, examples, ", ".join(counts))


def _count(fault: str, ids: Sequence[str]) -> str:
    """Return how many posts have a fault, and their ids where they are few."""
    named = f" ({', '.join(post_id[:MAX_ID_CHARACTERS] for post_id in ids)})"
    return f"{len(ids)} {_spaced(fault)}{named if len(ids) <= MAX_NAMED else ''}"


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def find_duplicate_groups(audited: AuditedPosts) -> dict[str, Groups]:
    """Return the groups of duplicates by kind; groups of similar posts include the equal ones.

    Texts are compared in lower case and without addresses, images byte by byte.
    """
    texts = [post.text for post in audited.posts]
    return {
        "equal_text": exact_groups([plain_text(text) or None for text in texts]),
        "similar_text": near_duplicate_texts(texts),
        "equal_image": exact_groups([(fact and fact.digest) or None for fact in audited.facts]),
        "similar_image": near_duplicate_images(audited.facts),
    }


def find_duplicates(audited: AuditedPosts, groups: Mapping[str, Groups]) -> Finding:
    """Return the groups of duplicates as ids."""
    examples = _in_turn(
        [Example(tuple(group), _spaced(kind)) for group in members]
        for kind, members in new_groups(groups).items()
    )
    posts = {i for members in groups.values() for group in members for i in group}
    details = {kind: [audited.ids(group) for group in members] for kind, members in groups.items()}
    sizes = [
        f"{count_of(len(found), 'group')} of {_spaced(kind)}" for kind, found in details.items()
    ]
    return Finding(len(posts), details, examples, ", ".join(sizes) if posts else "")


def new_groups(groups: Mapping[str, Groups]) -> dict[str, Groups]:
    """Return the groups by kind, without near-duplicates that are all exact duplicates."""
    exact = {kind: set(map(tuple, groups[equal])) for kind, equal in EQUAL_OF_SIMILAR.items()}
    return {
        kind: [group for group in members if tuple(group) not in exact.get(kind, ())]
        for kind, members in groups.items()
    }


def find_leakage(audited: AuditedPosts, groups: Mapping[str, Groups]) -> Finding:
    """Return the groups that span splits, and the posts of each later split that they affect."""
    splits = audited.splits_of_posts()
    several = [[i] for i, names in enumerate(splits) if len(names) > 1]
    all_kinds: dict[str, Groups] = {SAME_ID: several, **groups}
    spanning = {
        kind: [group for group in members if len({name for i in group for name in splits[i]}) > 1]
        for kind, members in all_kinds.items()
    }
    pairs = {
        (earlier, later): _affected(spanning, splits, earlier, later)
        for earlier, later in combinations(audited.splits, 2)
    }
    affected = {(later, i) for (_, later), kinds in pairs.items() for i in kinds[ANY]}
    members_of = {kind: _named(audited, members, splits) for kind, members in spanning.items()}
    examples = _in_turn(
        [Example(_one_of_each_split(group, splits), _spaced(kind)) for group in members]
        for kind, members in new_groups(spanning).items()
    )
    shown = [_sentence(*pair, kinds) for pair, kinds in pairs.items() if kinds[ANY]]
    details = {**members_of, **_affected_details(audited, pairs)}
    return Finding(len(affected), details, examples, "; ".join(shown))


def _affected_details(
    audited: AuditedPosts, pairs: Mapping[tuple[str, str], Mapping[str, Sequence[int]]]
) -> dict[str, Any]:
    """Return the numbers and ids of affected posts of each pair of splits."""
    named = {"-".join(pair): kinds for pair, kinds in pairs.items()}
    return {
        "affected": {
            pair: {kind: len(found) for kind, found in kinds.items()}
            for pair, kinds in named.items()
        },
        "affected_ids": {pair: audited.ids(kinds[ANY]) for pair, kinds in named.items()},
    }


def find_conflicting_labels(audited: AuditedPosts, groups: Mapping[str, Groups]) -> Finding:
    """Return groups of equal texts or images whose labels differ, by what is equal.

    They come with the agreement of labels over all such groups, which bounds the accuracy of a
    model that sees nothing but what is equal.
    """
    equal = _equal_posts(len(audited.posts), groups)
    agreement = {kind: _agreement(audited, members) for kind, members in equal.items()}
    found = _conflicts(audited, equal)
    details = {
        kind: [{audited.posts[i].id: audited.posts[i].label for i in group} for group in members]
        for kind, members in found.items()
    }
    examples = [
        Example(group, f"equal {_spaced(kind)}, labels {' / '.join(_labels(audited, group))}")
        for kind, members in found.items()
        for group in members
    ]
    posts = {i for example in examples for i in example.positions}
    shown = [
        f"{count_of(len(members), 'group')} of equal {_spaced(kind)} (two posts of such groups "
        f"agree in {100 * agreement[kind]['share']:.0f} %)"
        for kind, members in found.items()
        if members
    ]
    return Finding(len(posts), {**details, "agreement": agreement}, examples, ", ".join(shown))


def _equal_posts(num_posts: int, groups: Mapping[str, Groups]) -> dict[str, Groups]:
    """Return the groups of equal text and image, of equal text, and of equal image."""
    texts, images = (
        {i: number for number, group in enumerate(groups[kind]) for i in group}
        for kind in ("equal_text", "equal_image")
    )
    keys = [(texts.get(i), images.get(i)) for i in range(num_posts)]
    both = exact_groups([None if None in key else key for key in keys])
    return {"text_and_image": both, "text": groups["equal_text"], "image": groups["equal_image"]}


def _conflicts(
    audited: AuditedPosts, equal: Mapping[str, Groups]
) -> dict[str, list[tuple[int, ...]]]:
    """Return the groups with several labels, each under its first kind only."""
    found, seen = {}, set()
    for kind, members in equal.items():
        new = [tuple(g) for g in members if tuple(g) not in seen and len(_labels(audited, g)) > 1]
        seen.update(new)
        found[kind] = new
    return found


def _in_turn(lists: Iterable[Sequence[Example]]) -> list[Example]:
    """Return the first example of each list, then each second one: a few show every kind."""
    rounds = zip_longest(*lists)
    return [example for one_of_each in rounds for example in one_of_each if example is not None]


def _affected(
    spanning: Mapping[str, Groups], splits: Sequence[tuple[str, ...]], earlier: str, later: str
) -> dict[str, list[int]]:
    """Return, by kind, the posts of the later split with a duplicate in the earlier one."""
    found = {
        kind: sorted(
            i
            for group in members
            if any(earlier in splits[i] for i in group)
            for i in group
            if later in splits[i]
        )
        for kind, members in spanning.items()
    }
    return {**found, ANY: sorted({i for positions in found.values() for i in positions})}


def _named(
    audited: AuditedPosts, groups: Groups, splits: Sequence[tuple[str, ...]]
) -> list[list[dict[str, Any]]]:
    return [
        [{"id": audited.posts[i].id, "split": split} for i in group for split in splits[i]]
        for group in groups
    ]


def _one_of_each_split(group: Sequence[int], splits: Sequence[tuple[str, ...]]) -> tuple[int, ...]:
    """Return the posts of a group, one of each split first, since the rest may not be shown."""
    first = {splits[i]: i for i in reversed(group) if splits[i]}.values()
    return (*sorted(first), *(i for i in group if i not in first))


def _sentence(earlier: str, later: str, affected: Mapping[str, Sequence[int]]) -> str:
    kinds = ", ".join(
        f"{len(found)} by {_spaced(kind)}"
        for kind, found in affected.items()
        if found and kind != ANY
    )
    return f"{len(affected[ANY])} {later} posts also in {earlier} ({kinds})"


def _agreement(audited: AuditedPosts, groups: Groups) -> dict[str, Any]:
    """Return the share of pairs with equal labels, mean over groups with two labels or more."""
    shares = []
    for group in groups:
        pairs = list(combinations(audited.labels(group), 2))
        if pairs:
            shares.append(fmean(one == other for one, other in pairs))
    return {"groups": len(shares), "share": fmean(shares) if shares else None}


def _labels(audited: AuditedPosts, group: Sequence[int]) -> list[str]:
    return list(dict.fromkeys(audited.labels(group)))
