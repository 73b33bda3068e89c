"""Baselines: classifiers of text or image alone, and of both without fusion."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mvcn.models.network import MvcnOutput, Network, Tokens
from mvcn.nn.fusion import EqualUnit
from mvcn.nn.layers import MaskedLstm
from mvcn.nn.pooling import masked_mean, summary_token, weighted_sum
from mvcn.settings import Count
from mvcn.types import Summary

FILTER_WIDTHS = (3, 4, 5)
MAPS = 100
LARGEST_NORM = 3.0
WORD_DROPOUT = STATE_DROPOUT = 0.3
FEATURE_DROPOUT = 0.5


class TextCnn(Network):
    """Convolutions over words, their maximum over time, then a linear classifier.

    Args:
        text_width: Width of the text encoder's tokens.
        num_classes: Classes K.

    Source:
        Kim, EMNLP 2014: widths, number of filters, dropout, and the bound on the norm of the
        classifier's weights.  Deviation: its words are vectors of word2vec; here they are the
        tokens of the text encoder, or, with ``text_layers: 0``, its trained embeddings of word
        pieces. The bound holds in each forward pass and not by rescaling after a step.
    """

    def __init__(self, text_width: int, num_classes: int) -> None:
        super().__init__()
        self.feature_size = MAPS * len(FILTER_WIDTHS)
        self.filters = nn.ModuleList(
            nn.Conv1d(text_width, MAPS, width, padding=width - 1) for width in FILTER_WIDTHS
        )
        self.dropout = nn.Dropout(FEATURE_DROPOUT)
        self.classifier = NormBoundedLinear(self.feature_size, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts by their texts."""
        words = tokens.text.masked_fill(~tokens.text_mask.unsqueeze(-1), 0).transpose(1, 2)
        is_real = tokens.text_mask.to(words.dtype).unsqueeze(1)
        feature = torch.cat([_max_over_time(words, is_real, conv) for conv in self.filters], 1)
        logits = self.classifier(self.dropout(feature))
        return MvcnOutput(logits, feature, logits)


class NormBoundedLinear(nn.Linear):
    """A linear layer that scales each row of its weight to a norm of `LARGEST_NORM` at most."""

    def forward(self, input: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch classes"]:
        """Return the layer's outputs."""
        norms: Tensor = self.weight.norm(dim=1, keepdim=True)
        bounded = self.weight * (LARGEST_NORM / norms.clamp(min=LARGEST_NORM))
        return F.linear(input, bounded, self.bias)


def _max_over_time(
    words: Float[Tensor, "batch dim token"],
    is_real: Float[Tensor, "batch 1 token"],
    conv: nn.Module,
) -> Float[Tensor, "batch maps"]:
    """Return the maximum over all windows that hold a real word; zeros if there is none."""
    assert isinstance(conv, nn.Conv1d)
    width = conv.kernel_size[0]
    holds_word = F.max_pool1d(F.pad(is_real, (width - 1, width - 1)), width, stride=1)
    maxima: Tensor = (F.relu(conv(words)) * holds_word).amax(2)
    return maxima


class BiLstm(Network):
    r"""States of both directions, pooled, then a linear classifier.

    With attention, the states h of the two directions are added, and

    .. math::
        a = \mathrm{softmax}(w^\top \tanh(H)), \quad z = \tanh\Bigl(\sum_t a_t h_t\Bigr)

    Args:
        text_width: Width of the text encoder's tokens.
        num_classes: Classes K.
        attention: Pool the states by attention (Zhou et al.), or by the mean of the concatenated
            directions (the text branch of Cai et al.).
        state_size: Width of the states of one direction; 256 in Cai et al.

    Source:
        Zhou et al., ACL 2016, section 3: sizes and dropout, and Cai et al., ACL 2019.  Deviation:
        they use pretrained word vectors (GloVe in Cai et al.); here words are the tokens of the
        text encoder, or, with ``text_layers: 0``, its trained embeddings of word pieces.
    """

    def __init__(
        self, text_width: int, num_classes: int, *, attention: bool = True, state_size: Count = 100
    ) -> None:
        super().__init__()
        self.feature_size = state_size if attention else 2 * state_size
        self.word_dropout = nn.Dropout(WORD_DROPOUT)
        self.state_dropout = nn.Dropout(STATE_DROPOUT)
        self.dropout = nn.Dropout(FEATURE_DROPOUT)
        self.lstm = MaskedLstm(text_width, state_size)
        self.score = nn.Linear(state_size, 1, bias=False) if attention else None
        self.classifier = nn.Linear(self.feature_size, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts by their texts."""
        mask = tokens.text_mask
        states = self.state_dropout(self.lstm(self.word_dropout(tokens.text), mask))
        if self.score is None:
            feature = masked_mean(states, mask)
        else:
            added = sum(states.chunk(2, dim=-1))
            assert isinstance(added, torch.Tensor)
            scores = self.score(torch.tanh(added)).squeeze(-1)
            feature = torch.tanh(weighted_sum(added, scores, mask))
        logits = self.classifier(self.dropout(feature))
        return MvcnOutput(logits, feature, logits)


class TextSummary(Network):
    """A linear classifier on the token that stands for a text; zeros without a text.

    Args:
        text_width: Width of the text encoder's tokens.
        text_summary: Which token that is: the first of most encoders, the last one of a decoder.
        num_classes: Classes K.
        dropout: Dropout before the classifier.

    Source:
        Devlin et al., NAACL 2019, section 4.1.  Deviation: without BERT's pooling layer, which the
        packaged encoder does not have.
    """

    def __init__(
        self, text_width: int, text_summary: Summary, num_classes: int, *, dropout: float
    ) -> None:
        super().__init__()
        self.feature_size = text_width
        self.summary = text_summary
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(text_width, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts by their texts."""
        feature = summary_token(tokens.text, tokens.text_mask, self.summary)
        logits = self.classifier(self.dropout(feature))
        return MvcnOutput(logits, feature, logits)


class MeanImageToken(Network):
    """A linear classifier on the mean token of an image; zeros without an image.

    Args:
        image_width: Width of the image encoder's tokens.
        num_classes: Classes K.
        dropout: Dropout before the classifier.

    Source:
        He et al., CVPR 2016: global average pooling and one linear layer.  Deviation: dropout; by
        default another convolutional network, frozen.
    """

    def __init__(self, image_width: int, num_classes: int, *, dropout: float) -> None:
        super().__init__()
        self.feature_size = image_width
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(image_width, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts by their images."""
        feature = masked_mean(tokens.image, tokens.image_mask)
        logits = self.classifier(self.dropout(feature))
        return MvcnOutput(logits, feature, logits)


class VisionTransformer(Network):
    """Self-attention over image tokens and a class token, which is then classified.

    Args:
        image_width: Width of the image encoder's tokens.
        num_classes: Classes K.
        hidden_size: Width of the transformer.
        feedforward_size: Inner width of its feed-forward layers.
        num_heads: Attention heads.
        num_fusion_layers: Layers.
        dropout: Dropout of the layers and before the classifier.

    Source:
        Dosovitskiy et al., ICLR 2021, the hybrid architecture: patches are cells of a convolutional
        network's feature map.  Deviation: one layer by default, which normalises after each sum,
        and no position embeddings, as padding makes the border of a feature map recognisable. With
        a ViT as the image encoder, its tokens are the patches.
    """

    def __init__(
        self,
        image_width: int,
        num_classes: int,
        *,
        hidden_size: int,
        feedforward_size: int,
        num_heads: int,
        num_fusion_layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.feature_size = hidden_size
        self.norm = nn.LayerNorm(image_width, elementwise_affine=False)
        self.projection = nn.Linear(image_width, hidden_size)
        self.class_token = nn.Parameter(torch.empty(hidden_size))
        self.reset_parameters()
        self.layers = nn.ModuleList(
            EqualUnit(hidden_size, num_heads, feedforward_size, dropout)
            for _ in range(num_fusion_layers)
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden_size, num_classes)

    def reset_parameters(self) -> None:
        """Draw the class token."""
        nn.init.normal_(self.class_token, std=0.02)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts by their images."""
        patches = self.projection(self.norm(tokens.image))
        first = self.class_token.expand(patches.shape[0], 1, -1)
        mask = nn.functional.pad(tokens.image_mask, (1, 0), value=True)
        states = torch.cat([first, patches], 1)
        for layer in self.layers:
            states = layer(states, mask)
        feature = states[:, 0]
        logits = self.classifier(self.dropout(feature))
        return MvcnOutput(logits, feature, logits)


class LinearNetwork(Network):
    """Linear classifiers of mean tokens, whose logits are averaged; the base of two baselines.

    They are fitted by `mvcn.training.linear` and not trained step by step. A classifier of what a
    post misses has no part in its logits.

    Args:
        text_width: Width of the text encoder's tokens.
        image_width: Width of the image encoder's tokens.
        num_classes: Classes K.
    """

    inputs: tuple[str, ...]
    """What each classifier reads: ``text``, ``image``, or ``both``, one after the other."""

    def __init__(self, text_width: int, image_width: int, num_classes: int) -> None:
        super().__init__()
        widths = {"text": text_width, "image": image_width, "both": text_width + image_width}
        self.feature_size = sum(widths[name] for name in self.inputs)
        self.classifiers = nn.ModuleDict(
            {name: nn.Linear(widths[name], num_classes) for name in self.inputs}
        )

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts."""
        text = masked_mean(tokens.text, tokens.text_mask)
        image = masked_mean(tokens.image, tokens.image_mask)
        means = {"text": text, "image": image, "both": torch.cat([text, image], 1)}
        has = {"text": tokens.text_mask.any(1), "image": tokens.image_mask.any(1)}
        has["both"] = has["text"] | has["image"]
        scores = torch.stack([one(means[name]) for name, one in self.classifiers.items()], 1)
        logits = masked_mean(scores, torch.stack([has[name] for name in self.inputs], 1))
        return MvcnOutput(logits, torch.cat([means[name] for name in self.inputs], 1), logits)


class LogisticRegression(LinearNetwork):
    """A linear classifier of the mean text token next to the mean image token.

    Source:
        Ours: the usual first baseline, on frozen encoders, by scikit-learn's logistic regression of
        standardised features with a cross-validated penalty.
    """

    inputs = ("both",)


class LateFusion(LinearNetwork):
    """A linear classifier of the text and one of the image, whose logits are averaged.

    A post without one of the two is scored by the other alone.

    Source:
        The late fusion that Zhang et al., ICML 2023 (QMF) compare with.  Deviation: mean tokens of
        frozen encoders, and logistic regressions with cross-validated penalties.
    """

    inputs = ("text", "image")
