"""A plug-in for tests, as its user would name it by ``--plugin tests.example_plugin``."""

import torch
from torch import Tensor, nn

from mvcn.models.network import MvcnOutput, Network, Tokens
from mvcn.models.registry import System
from mvcn.nn.pooling import masked_mean
from mvcn.types import Corpus, Post


class MeanTokens(Network):
    """A linear classifier of the mean tokens of text and image."""

    def __init__(self, text_width, image_width, num_classes, *, scale: float = 1.0):
        super().__init__()
        self.feature_size = text_width + image_width
        self.classifier = nn.Linear(self.feature_size, num_classes)
        self.scale = scale

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        text = masked_mean(tokens.text, tokens.text_mask)
        feature = torch.cat([text, masked_mean(tokens.image, tokens.image_mask)], -1)
        logits = self.scale * self.classifier(feature)
        return MvcnOutput(logits, feature, logits)


def largest_logit(batch) -> Tensor:
    return batch.mean(batch.output.fused_logits.amax(-1))


def read_words(root):
    posts = [Post(str(n), word, None, word) for n, word in enumerate(root.read_text().split())]
    return Corpus(posts, tuple(sorted({post.label for post in posts})))


MODELS = {
    "mean-tokens": System(
        "tests.example_plugin:MeanTokens", reads=("text", "image"), source="a test"
    )
}
LOSSES = {"largest-logit": largest_logit}
DATASETS = {"words": read_words}
