"""``python -m mvcn`` is ``mvcn``."""

from mvcn.cli import main

if __name__ == "__main__":
    main()
