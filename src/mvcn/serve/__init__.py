"""Predictions of `mvcn.inference.Classifier` over HTTP, for many clients at once."""
