"""The building blocks of the network, named as in the paper's figure."""

from mvcn.nn.attention import MultiHeadAttention, Normalizer, masked_softmax
from mvcn.nn.fusion import TextGuidedFusion, TextGuidedUnit
from mvcn.nn.reduction import ReductionUnit
from mvcn.nn.sparsemax import sparsemax

__all__ = [
    "MultiHeadAttention",
    "Normalizer",
    "ReductionUnit",
    "TextGuidedFusion",
    "TextGuidedUnit",
    "masked_softmax",
    "sparsemax",
]
