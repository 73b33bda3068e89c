"""Posts: how they are read, what their images are, and how they are split."""
