"""Tasks unlike MVSA, on which `mvcn train` is compared with plain linear models."""

OURS = "mvcn train"
"""Its name among the linear models."""
