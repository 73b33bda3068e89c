"""Files of rows, and how a row becomes a post: one module for each format."""
