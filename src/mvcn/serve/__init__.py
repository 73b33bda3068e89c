"""Predictions of `mvcn.Classifier` over HTTP, for many clients at once."""
