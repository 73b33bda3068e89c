"""A run behind HTTP: what `mvcn.inference.Classifier` says, for many clients at once."""
