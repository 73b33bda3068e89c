"""The tools, each in a file with the same interface.

`fit(table, folder, seed, ...)` learns from a table of posts and saves a model to a new folder,
`load(folder)` returns what it predicts with, and `PACKAGES` names what has to be installed. None
of them sees a label of the posts that are predicted.
"""
