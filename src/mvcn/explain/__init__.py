"""Explanations of predictions and their faithfulness, and maps of the feature space."""
