"""The building blocks of the network, named as in the paper's figure."""

from mvcn.nn.attention import MultiHeadAttention, Normalizer, masked_softmax
from mvcn.nn.fusion import EqualFusion, EqualUnit, TextGuidedFusion, TextGuidedUnit
from mvcn.nn.pooling import ReductionUnit
from mvcn.nn.sparsemax import sparsemax

__all__ = [
    "EqualFusion",
    "EqualUnit",
    "MultiHeadAttention",
    "Normalizer",
    "ReductionUnit",
    "TextGuidedFusion",
    "TextGuidedUnit",
    "masked_softmax",
    "sparsemax",
]
