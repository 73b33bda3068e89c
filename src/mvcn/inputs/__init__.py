"""From posts to what a model reads: processor, images, texts, image attributes, batches."""
