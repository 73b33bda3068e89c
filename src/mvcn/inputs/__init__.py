"""From posts to what a model reads: processor, images, texts, image attributes, batches.

Importing this package registers models and processor with Hugging Face's Auto classes.
"""

from mvcn.inputs.processor import MvcnProcessor, build_processor

__all__ = ["MvcnProcessor", "build_processor"]
