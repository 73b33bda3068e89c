"""Tasks unlike MVSA, on which `mvcn train` is compared with plain linear models."""
