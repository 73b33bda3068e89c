"""Text and image encoders: packaged ones, and any that Hugging Face can load."""
