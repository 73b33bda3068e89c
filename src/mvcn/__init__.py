"""MVCN: classifiers of posts made of text and image."""
