"""Folds of cross-validation as lists of ids, near-duplicates together."""

from pathlib import Path

from mvcn.config import DataConfig
from mvcn.data.image_facts import describe_images_of
from mvcn.data.near_duplicates import duplicate_groups
from mvcn.data.reading import read_dataset, read_training_posts
from mvcn.data.splits import SPLITS_FILE, k_folds, write_splits

SEED = 0
"""Of the folds: they are the same for every row and seed, so that differences are paired."""


def deal_folds(data: DataConfig, folds: int, folder: Path) -> list[Path]:
    """Deal the train and dev posts out to folds, once; return a folder of id files for each.

    Posts that are nearly the same in text or image are never in train and dev of one fold.

    Raises:
        ConfigError: A setting of the data is missing.
        DataError: Posts cannot be read, or are too few.
    """
    folders = [folder / f"fold-{number}" for number in range(folds)]
    if all((path / SPLITS_FILE).is_file() for path in folders):
        return folders
    found = read_training_posts(data, SEED)
    posts = [*found.train, *found.dev]
    groups = duplicate_groups([post.text for post in posts], describe_images_of(posts))
    everything = read_dataset(data, data.root).posts
    about = {"seed": SEED, "folds": folds, "duplicates": "kept together"}
    for path, parts in zip(folders, k_folds(posts, folds, SEED, groups), strict=True):
        write_splits(path, parts, everything, about, overwrite=True)
    return folders
