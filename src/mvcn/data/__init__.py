"""Posts: readers of datasets, images, and splits."""
