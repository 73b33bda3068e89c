"""Prediction without PyTorch: from posts to arrays, and graphs that read them."""
