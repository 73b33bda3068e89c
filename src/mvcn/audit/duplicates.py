"""Duplicates, and what they do across splits and labels."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, zip_longest
from statistics import fmean
from typing import Any

from mvcn.audit.findings import AuditedPosts, Example, Finding
from mvcn.data.near_duplicates import (
    exact_groups,
    near_duplicate_images,
    near_duplicate_texts,
    plain_text,
)

Groups = Sequence[Sequence[int]]

EQUAL_OF_SIMILAR = {"similar_text": "equal_text", "similar_image": "equal_image"}
"""Kind of near-duplicates -> the kind of exact ones among them."""
SAME_ID = "same_id"
ANY = "any"


def find_duplicate_groups(audited: AuditedPosts) -> dict[str, Groups]:
    """Return groups of positions by kind; similar ones include the equal ones.

    Texts are equal if they are in lower case and without addresses, images if their files are.
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
        [Example(tuple(group), kind.replace("_", " ")) for group in members]
        for kind, members in new_groups(groups).items()
    )
    posts = {i for members in groups.values() for group in members for i in group}
    details = {kind: [audited.ids(group) for group in members] for kind, members in groups.items()}
    sizes = [f"{len(found)} groups of {kind.replace('_', ' ')}" for kind, found in details.items()]
    return Finding(len(posts), details, examples, ", ".join(sizes) if posts else "")


def new_groups(groups: Mapping[str, Groups]) -> dict[str, Groups]:
    """Return the groups by kind, without near-duplicates that are all exact duplicates."""
    exact = {kind: set(map(tuple, groups[equal])) for kind, equal in EQUAL_OF_SIMILAR.items()}
    return {
        kind: [group for group in members if tuple(group) not in exact.get(kind, ())]
        for kind, members in groups.items()
    }


def find_leakage(audited: AuditedPosts, groups: Mapping[str, Groups]) -> Finding:
    """Return the groups in several splits, and how many posts of each later split they affect."""
    splits = audited.splits_of_posts()
    several = [[i] for i, names in enumerate(splits) if len(names) > 1]
    all_kinds: dict[str, Groups] = {SAME_ID: several, **groups}
    straddling = {
        kind: [group for group in members if len({name for i in group for name in splits[i]}) > 1]
        for kind, members in all_kinds.items()
    }
    pairs = {
        (earlier, later): _affected(straddling, splits, earlier, later)
        for earlier, later in combinations(audited.splits, 2)
    }
    affected = {(later, i) for (_, later), kinds in pairs.items() for i in kinds[ANY]}
    details = {
        **{kind: _named(audited, members, splits) for kind, members in straddling.items()},
        "affected": {
            f"{earlier}-{later}": {kind: len(found) for kind, found in kinds.items()}
            for (earlier, later), kinds in pairs.items()
        },
        "affected_ids": {
            f"{earlier}-{later}": audited.ids(kinds[ANY])
            for (earlier, later), kinds in pairs.items()
        },
    }
    examples = _in_turn(
        [Example(_one_of_each_split(group, splits), kind.replace("_", " ")) for group in members]
        for kind, members in new_groups(straddling).items()
    )
    shown = [_sentence(*pair, kinds) for pair, kinds in pairs.items() if kinds[ANY]]
    return Finding(len(affected), details, examples, "; ".join(shown))


def find_conflicting_labels(audited: AuditedPosts, groups: Mapping[str, Groups]) -> Finding:
    """Return groups of equal texts or images whose labels differ, and what is equal in them.

    They come with how often two posts of such a group agree: no model that sees nothing else
    can be right more often than the labels allow.
    """
    texts, images = (
        {i: number for number, group in enumerate(groups[kind]) for i in group}
        for kind in ("equal_text", "equal_image")
    )
    keys = [(texts.get(i), images.get(i)) for i in range(len(audited.posts))]
    both = exact_groups([None if None in key else key for key in keys])
    equal = {"text_and_image": both, "text": groups["equal_text"], "image": groups["equal_image"]}
    found, seen = {}, set()
    for kind, members in equal.items():
        new = [tuple(g) for g in members if tuple(g) not in seen and len(_labels(audited, g)) > 1]
        seen.update(new)
        found[kind] = new
    agreement = {kind: _agreement(audited, members) for kind, members in equal.items()}
    conflicts = {
        kind: [{audited.posts[i].id: audited.posts[i].label for i in group} for group in members]
        for kind, members in found.items()
    }
    examples = [
        Example(
            group, f"equal {kind.replace('_', ' ')}, labels {' / '.join(_labels(audited, group))}"
        )
        for kind, members in found.items()
        for group in members
    ]
    posts = {i for members in found.values() for group in members for i in group}
    shown = [
        f"{len(g)} groups of equal {k.replace('_', ' ')} (two posts of such groups agree in "
        f"{agreement[k]['share']:.0%})"
        for k, g in found.items()
        if g
    ]
    details = {**conflicts, "agreement": agreement}
    return Finding(len(posts), details, examples, ", ".join(shown))


def _in_turn(lists: Iterable[Sequence[Example]]) -> list[Example]:
    """Return the first example of each list, then the second ones: a few show every kind."""
    rounds = zip_longest(*lists)
    return [example for one_of_each in rounds for example in one_of_each if example is not None]


def _affected(
    straddling: Mapping[str, Groups], splits: Sequence[tuple[str, ...]], earlier: str, later: str
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
        for kind, members in straddling.items()
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
    """Return the group's posts, beginning with one of each split: the rest may not be shown."""
    first = {splits[i]: i for i in reversed(group) if splits[i]}.values()
    return (*sorted(first), *(i for i in group if i not in first))


def _sentence(earlier: str, later: str, affected: Mapping[str, Sequence[int]]) -> str:
    kinds = ", ".join(
        f"{len(found)} by {kind.replace('_', ' ')}"
        for kind, found in affected.items()
        if found and kind != ANY
    )
    return f"{len(affected[ANY])} {later} posts also in {earlier} ({kinds})"


def _agreement(audited: AuditedPosts, groups: Groups) -> dict[str, Any]:
    """Return the share of pairs with one label, in the mean of groups with two labels or more."""
    shares = []
    for group in groups:
        pairs = list(combinations(audited.labels(group), 2))
        if pairs:
            shares.append(fmean(one == other for one, other in pairs))
    return {"groups": len(shares), "share": fmean(shares) if shares else None}


def _labels(audited: AuditedPosts, group: Sequence[int]) -> list[str]:
    return list(dict.fromkeys(audited.labels(group)))
