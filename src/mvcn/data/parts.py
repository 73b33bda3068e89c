"""What people call the parts of a data set."""

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
    "testing": "test",
}
"""What others call the parts -> what we call them."""


def part_of(name: str) -> str | None:
    """Return ``train``, ``dev`` or ``test`` for what people call it, None for no such part."""
    return SPLIT_NAMES.get(name.strip().lower())
