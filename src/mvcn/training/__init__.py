"""Train a classifier of posts."""
