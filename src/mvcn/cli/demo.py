"""``mvcn demo``."""


def demo() -> None:
    """Demo."""
