"""Linear models of single inputs, whose logits are added to those of an ensemble's members."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mvcn.models.network import Tokens
from mvcn.nn.ngrams import NgramClassifier
from mvcn.nn.pooling import masked_mean


class LinearStack(nn.Module):
    """The sum of the logits of linear models of n-grams, mean text token and mean image token.

    A model of what a post misses adds nothing.

    Args:
        ngram_buckets: Values of the hash of n-grams, 0 without a model of them.
        widths: Width of the tokens of ``text`` and ``image``, as far as models read them.
        num_classes: Classes K.

    Source:
        Not in Wei et al., ACL 2023; ours. Stacking: Wolpert, Neural Networks 1992.
    """

    def __init__(self, ngram_buckets: int, widths: Mapping[str, int], num_classes: int) -> None:
        super().__init__()
        self.ngrams = NgramClassifier(ngram_buckets, num_classes) if ngram_buckets else None
        self.means = nn.ModuleDict(
            {name: nn.Linear(width, num_classes) for name, width in widths.items()}
        )

    def forward(self, tokens: Tokens) -> Float[Tensor, "batch classes"]:
        """Return the logits to add for each post; there is at least one model."""
        each = {"text": (tokens.text, tokens.text_mask), "image": (tokens.image, tokens.image_mask)}
        found = [
            model(masked_mean(*each[name])) * each[name][1].any(1, keepdim=True)
            for name, model in self.means.items()
        ]
        if self.ngrams is not None:
            found.append(self.ngrams(tokens.word_ids, tokens.text_mask))
        return torch.stack(found).sum(0)
