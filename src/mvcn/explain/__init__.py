"""What predictions depend on, how posts lie in feature space, and how faithful explanations are."""
