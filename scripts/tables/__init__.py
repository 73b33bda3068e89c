"""Tables of README.md and docs/, made of the files of results/: ``python -m scripts.tables``."""
