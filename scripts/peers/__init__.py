"""What other tools make of the same posts: ``make peers DATA=folder``."""
