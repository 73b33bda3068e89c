"""What a model looks at, how posts lie in its feature space, and whether to believe it."""
