"""Hierarchical fusion of text, image and attributes (Cai et al. 2019), and its ablations."""

from collections.abc import Sequence
from itertools import starmap

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mvcn.models.network import MvcnOutput, Network, Tokens
from mvcn.nn.attention import masked_softmax
from mvcn.nn.layers import MaskedLstm
from mvcn.nn.pooling import masked_mean, weighted_sum

STATE_SIZE = 256
REGION_SIZE = 1024
FUSED_SIZE = 512
HIDDEN_SIZE = 256
WORD_DROPOUT = 0.2
Modality = tuple[Tensor, Tensor]
"""Tokens ``(batch, token, dim)`` of one kind, and which of them are real."""


class HierarchicalFusion(Network):
    r"""Attributes initialise the text's LSTM; then all three modalities weigh each other's tokens.

    Early fusion: attributes give the initial states of the text's LSTM. Representation fusion:
    each token x of each modality is weighed by its scores with the three modality vectors v,

    .. math::
        \alpha = \tfrac13 \sum_g \mathrm{softmax}\bigl(W_2 \tanh(W_1 [x; v_g])\bigr)

    Modality fusion: a softmax over the scores of the three.

    Args:
        text_width: Width of the text encoder's tokens, and of attributes.
        image_width: Width of the image encoder's tokens.
        num_classes: Classes K.
        faithful: Score modalities by 512 hidden units each and with a bias, and return the L2 term
            as a penalty.

    Source:
        Cai, Cai and Wan, ACL 2019, and the authors' code.  Deviations: padding is masked, as is a
        missing modality in the last step; words are the text encoder's tokens; attributes are the
        dataset's words, or the names of the likeliest objects of the image encoder, and their
        vectors the text encoder's; one logit per class, and no weight of the rarer class
        (``objective.class_weights: auto`` has one).  Deviations of the measured form, which are
        gone with `faithful`: each modality is scored by half as many hidden units as it is wide and
        without a bias, so that text (256) and attributes (192 on MiniLM's tokens) have fewer than
        the authors' 512; no L2 term, which has the weight 1e-7 in the authors' code
        (``objective.penalty_weight: 1e-7``), in addition to the weight decay of all systems.
    """

    def __init__(
        self, text_width: int, image_width: int, num_classes: int, *, faithful: bool = False
    ) -> None:
        super().__init__()
        self.feature_size = FUSED_SIZE
        self.faithful = faithful
        self.encode = ThreeModalities(text_width, image_width, has_attributes=True)
        sizes = self.encode.sizes
        self.weigh = nn.ModuleList(
            nn.ModuleList(_score(own + guide) for guide in sizes) for own in sizes
        )
        self.score = nn.ModuleList(
            _modality_score(size) if faithful else _score(size) for size in sizes
        )
        self.project = nn.ModuleList(nn.Linear(size, FUSED_SIZE) for size in sizes)
        self.classifier = _two_layers(FUSED_SIZE, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts."""
        modalities, vectors = self.encode(tokens)
        fused = [
            self._represent(own, modality, vectors)
            for own, modality in zip(self.weigh, modalities, strict=True)
        ]
        feature = self._combine(fused, [mask.any(1) for _, mask in modalities])
        logits = self.classifier(feature)
        penalty = self._squares() if self.faithful and self.training else None
        return MvcnOutput(logits, feature, logits, penalty=penalty)

    def _squares(self) -> Float[Tensor, ""]:
        """Return half the sum of the squares of all weights, biases included."""
        return torch.stack([weight.square().sum() for weight in self.parameters()]).sum() / 2

    @staticmethod
    def _represent(
        scores: nn.Module, modality: Modality, guides: Sequence[Tensor]
    ) -> Float[Tensor, "batch dim"]:
        tokens, mask = modality
        assert isinstance(scores, nn.ModuleList)
        weights = [
            masked_softmax(score(_with_guide(tokens, guide)).squeeze(-1), mask)
            for score, guide in zip(scores, guides, strict=True)
        ]
        mean = torch.stack(weights).mean(0).unsqueeze(-1)
        return (mean * tokens.masked_fill(~mask.unsqueeze(-1), 0)).sum(1)

    def _combine(
        self, fused: Sequence[Tensor], present: list[Tensor]
    ) -> Float[Tensor, "batch dim"]:
        scores = torch.cat([score(one) for score, one in zip(self.score, fused, strict=True)], 1)
        projected = [project(one) for project, one in zip(self.project, fused, strict=True)]
        return weighted_sum(torch.stack(projected, 1).tanh(), scores, torch.stack(present, 1))


class Concatenation(Network):
    """The concatenated vectors of text, image and attributes, and the same two-layer classifier.

    Args:
        text_width: Width of the text encoder's tokens, and of attributes.
        image_width: Width of the image encoder's tokens.
        num_classes: Classes K.

    Source:
        Cai, Cai and Wan, ACL 2019, section 4.3.  Deviations: those of `HierarchicalFusion`.
    """

    has_attributes = True

    def __init__(self, text_width: int, image_width: int, num_classes: int) -> None:
        super().__init__()
        self.encode = ThreeModalities(
            text_width, image_width, has_attributes=self.has_attributes, early_fusion=False
        )
        self.feature_size = sum(self.encode.sizes)
        self.classifier = _two_layers(self.feature_size, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts."""
        _, vectors = self.encode(tokens)
        feature = torch.cat(list(vectors), 1)
        logits = self.classifier(feature)
        return MvcnOutput(logits, feature, logits)


class TextImageConcatenation(Concatenation):
    """`Concatenation` of text and image alone."""

    has_attributes = False


class ThreeModalities(nn.Module):
    """Image regions, words and attributes as tokens, and one vector for each modality.

    Args:
        text_width: Width of the text encoder's tokens, and of attributes.
        image_width: Width of the image encoder's tokens.
        has_attributes: Three modalities, or two.
        early_fusion: Compute the initial states of the text's LSTM from the attributes.
    """

    def __init__(
        self,
        text_width: int,
        image_width: int,
        *,
        has_attributes: bool,
        early_fusion: bool = True,
    ) -> None:
        super().__init__()
        self.has_attributes = has_attributes
        self.sizes = (REGION_SIZE, 2 * STATE_SIZE, *([text_width] if has_attributes else []))
        self.dropout = nn.Dropout(WORD_DROPOUT)
        self.region = nn.Linear(image_width, REGION_SIZE)
        self.lstm = MaskedLstm(text_width, STATE_SIZE)
        self.attribute_score = _score(text_width, nn.ReLU()) if has_attributes else None
        # Initial hidden and cell state of both directions.
        self.first_states = nn.Linear(text_width, 4 * STATE_SIZE) if early_fusion else None

    def forward(self, tokens: Tokens) -> tuple[list[Modality], list[Tensor]]:
        """Return tokens with their masks, and their mean or weighted sum, of each modality."""
        attributes = (tokens.attributes, tokens.attribute_mask)
        regions = (self.region(tokens.image).relu(), tokens.image_mask)
        guide = self._attribute_vector(*attributes)
        states = self.lstm(self.dropout(tokens.text), tokens.text_mask, self._initial_states(guide))
        modalities = [regions, (states, tokens.text_mask)]
        vectors = list(starmap(masked_mean, modalities))
        if guide is None:
            return modalities, vectors
        return [*modalities, attributes], [*vectors, guide]

    def _attribute_vector(
        self, words: Float[Tensor, "batch word dim"], mask: Bool[Tensor, "batch word"]
    ) -> Tensor | None:
        if self.attribute_score is None:
            return None
        return weighted_sum(words, self.attribute_score(words).squeeze(-1), mask)

    def _initial_states(self, guide: Tensor | None) -> tuple[Tensor, Tensor] | None:
        if self.first_states is None or guide is None:
            return None
        states = self.first_states(guide).relu().view(len(guide), 4, STATE_SIZE).transpose(0, 1)
        return states[:2].contiguous(), states[2:].contiguous()


def _score(dim: int, activation: nn.Module | None = None) -> nn.Sequential:
    """Return two layers that score vectors, the first half as wide as they are."""
    return nn.Sequential(
        nn.Linear(dim, dim // 2), activation or nn.Tanh(), nn.Linear(dim // 2, 1, bias=False)
    )


def _modality_score(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, FUSED_SIZE), nn.Tanh(), nn.Linear(FUSED_SIZE, 1))


def _two_layers(dim: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(dim, HIDDEN_SIZE), nn.ReLU(), nn.Linear(HIDDEN_SIZE, num_classes)
    )


def _with_guide(
    tokens: Float[Tensor, "batch token dim"], guide: Float[Tensor, "batch guide_dim"]
) -> Float[Tensor, "batch token both_dim"]:
    return torch.cat([tokens, guide.unsqueeze(1).expand(-1, tokens.shape[1], -1)], -1)
