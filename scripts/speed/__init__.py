"""Speed: mvcn compared with plain code (``python -m scripts.speed``), and how its costs grow."""
