"""The systems of Xu and colleagues, from HSAN (2017) to D&R Net (2020).

Each encodes the words of a text by an LSTM; all but HSAN let the image guide attention over them.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mvcn.models.network import MvcnOutput, Network, Tokens
from mvcn.nn.attention import MultiHeadAttention
from mvcn.nn.layers import MaskedLstm
from mvcn.nn.pooling import ContextAttention, GuidedAttention, masked_mean
from mvcn.settings import Count

SIZE = 128
"""Width of states and memories; our choice except in MultiSentiNet."""
SENTENCE_SIZE = 64
"""Width of the states of one direction in HSAN; our choice."""


class HierarchicalAttention(Network):
    """From words to sentences, and from sentences to the post, each by an LSTM with attention.

    The sentences are the text and a caption of the image.

    Args:
        text_width: Width of the text encoder's tokens.
        num_classes: Classes K.
        dropout: Dropout of words and before the classifier.

    Source:
        Xu, ISI 2017; the hierarchy and its attention are Yang et al., NAACL 2016. No code is
        public, and sizes are not given.  Deviations: the caption consists of the image attributes
        (those of the dataset, or the likeliest objects of the image encoder), where the author uses
        a captioner; a text is one sentence; its words are the text encoder's tokens.
    """

    def __init__(self, text_width: int, num_classes: int, *, dropout: float) -> None:
        super().__init__()
        self.feature_size = 2 * SENTENCE_SIZE
        self.words = MaskedLstm(text_width, SENTENCE_SIZE)
        self.word_attention = ContextAttention(2 * SENTENCE_SIZE)
        self.sentences = MaskedLstm(2 * SENTENCE_SIZE, SENTENCE_SIZE)
        self.sentence_attention = ContextAttention(2 * SENTENCE_SIZE)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * SENTENCE_SIZE, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts."""
        sequences = ((tokens.text, tokens.text_mask), (tokens.attributes, tokens.attribute_mask))
        sentences = [
            self.word_attention(self.words(self.dropout(words), mask), mask)
            for words, mask in sequences
        ]
        # Both are always read: a sentence without words is a vector of zeros.
        both = torch.stack(sentences, 1)
        mask = torch.ones(both.shape[:2], dtype=torch.bool, device=both.device)
        feature = self.sentence_attention(self.sentences(both, mask), mask)
        logits = self.classifier(self.dropout(feature))
        return MvcnOutput(logits, feature, logits)


class MultiSentiNet(Network):
    r"""Attention over the words that is guided by an object vector o and a scene vector s.

    .. math::
        u_t = \tanh(W h_t + W_o o + W_s s + b), \quad a = \mathrm{softmax}(v^\top u), \quad
        z = \mathrm{ReLU}(W_z [s; o; \sum_t a_t h_t])

    with the states h of an LSTM.

    Args:
        text_width: Width of the text encoder's tokens, and of the scene's words.
        num_objects: Classes of the published image encoder.
        num_classes: Classes K.
        dropout: Dropout before the classifier.

    Source:
        Xu and Mao, CIKM 2017, with the sizes of the authors' code.  Deviations: objects are the
        probabilities of the image encoder's own classes, and the scene is the mean vector of the
        image attributes (those of an attribute model that was trained on scenes, else of the
        dataset, else the likeliest objects), where the authors take vectors of two VGG networks;
        words of the text are the text encoder's tokens and not GloVe; padding gets no attention.
    """

    def __init__(
        self,
        text_width: int,
        num_objects: int,
        num_classes: int,
        *,
        dropout: float,
    ) -> None:
        super().__init__()
        self.feature_size = SIZE
        self.object = nn.Linear(num_objects, SIZE)
        self.scene = nn.Linear(text_width, SIZE)
        self.lstm = MaskedLstm(text_width, SIZE, bidirectional=False)
        self.attention = GuidedAttention(SIZE, 2 * SIZE, SIZE)
        self.mix = nn.Sequential(nn.Linear(3 * SIZE, SIZE), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(SIZE, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts."""
        scene = self.scene(masked_mean(tokens.attributes, tokens.attribute_mask)).relu()
        guide = torch.cat([self.object(tokens.objects).relu(), scene], 1)
        states = self.lstm(tokens.text, tokens.text_mask)
        text = self.attention(states, guide, tokens.text_mask)
        feature = self.mix(torch.cat([guide, text], 1))
        logits = self.classifier(self.dropout(feature))
        return MvcnOutput(logits, feature, logits)


class CoMemoryNetwork(Network):
    r"""A memory M of words and a memory V of image regions, which query each other in turns.

    .. math::
        q_v^{k+1} = q_v^k + \mathrm{att}(V; q_t^k), \quad q_t^{k+1} = q_t^k + \mathrm{att}(M; q_v^k)

    starting from the mean of each memory.

    Args:
        text_width: Width of the text encoder's tokens.
        image_width: Width of the image encoder's tokens.
        num_classes: Classes K.
        dropout: Dropout before the classifier.
        hops: Number of turns.

    Source:
        Xu, Mao and Chen, SIGIR 2018. No code is public; sizes, and whether hops share their
        weights, are not given: here they do.  Deviation: words are the text encoder's tokens and
        not GloVe.
    """

    def __init__(
        self,
        text_width: int,
        image_width: int,
        num_classes: int,
        *,
        dropout: float,
        hops: Count = 6,
    ) -> None:
        super().__init__()
        self.feature_size = 2 * SIZE
        self.hops = hops
        self.words = MaskedLstm(text_width, SIZE // 2)
        self.regions = nn.Linear(image_width, SIZE)
        self.read_words = GuidedAttention(SIZE, SIZE, SIZE)
        self.read_regions = GuidedAttention(SIZE, SIZE, SIZE)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * SIZE, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts."""
        words = self.words(tokens.text, tokens.text_mask)
        regions = torch.tanh(self.regions(tokens.image))
        text = masked_mean(words, tokens.text_mask)
        image = masked_mean(regions, tokens.image_mask)
        for _ in range(self.hops):
            text, image = (
                text + self.read_words(words, image, tokens.text_mask),
                image + self.read_regions(regions, text, tokens.image_mask),
            )
        feature = torch.cat([text, image], 1)
        logits = self.classifier(self.dropout(feature))
        return MvcnOutput(logits, feature, logits)


class DecompositionAndRelation(Network):
    r"""Decomposition: the discrepancy of text and image; relation: attention with image attributes.

    With text vector t and image vector v, a shared projection S and private ones P:

    .. math::
        d = P_t t - P_v v, \quad
        L_\perp = \lVert S^\top P_t \rVert_F^2 + \lVert S^\top P_v \rVert_F^2

    and adjective-noun pairs of the image attend to the words of the text, and the text to pairs.

    Args:
        text_width: Width of the text encoder's tokens, and of pairs.
        image_width: Width of the image encoder's tokens.
        num_classes: Classes K.
        dropout: Dropout before the classifier.

    Source:
        Xu, Zeng and Mao, ACL 2020. No code is public; sizes and the weight of the penalty are not
        given.  Deviations: a pair is an image attribute (the dataset's, or a likely object) with
        the nearest word of VADER's lexicon, where the authors detect pairs by SentiBank; the sum of
        the shared parts also goes to the classifier; words are the text encoder's tokens; the
        penalty is a mean over entries.
    """

    def __init__(
        self, text_width: int, image_width: int, num_classes: int, *, dropout: float
    ) -> None:
        super().__init__()
        self.feature_size = 4 * SIZE
        self.words = MaskedLstm(text_width, SIZE // 2)
        self.image = nn.Linear(image_width, SIZE)
        self.pairs = nn.Linear(text_width, SIZE)
        self.shared, self.private_text, self.private_image = (
            nn.Linear(SIZE, SIZE, bias=False) for _ in range(3)
        )
        self.pair_attention = MultiHeadAttention(SIZE, 1)
        self.text_attention = GuidedAttention(SIZE, SIZE, SIZE)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.feature_size, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts."""
        states = self.words(tokens.text, tokens.text_mask)
        text = masked_mean(states, tokens.text_mask)
        image = self.image(masked_mean(tokens.image, tokens.image_mask)).tanh()
        image = image.masked_fill(~tokens.image_mask.any(1, keepdim=True), 0)
        relation = self._relation(states, text, tokens)
        common = self.shared(text) + self.shared(image)
        discrepancy = self.private_text(text) - self.private_image(image)
        feature = torch.cat([common, discrepancy, *relation], 1)
        logits = self.classifier(self.dropout(feature))
        penalty = self._overlap() if self.training else None
        return MvcnOutput(logits, feature, logits, penalty=penalty)

    def _relation(
        self, states: Tensor, text: Tensor, tokens: Tokens
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch dim"]]:
        pairs, mask = self.pairs(tokens.attributes), tokens.attribute_mask
        attended, _ = self.pair_attention(pairs, states, tokens.text_mask)
        has_text = tokens.text_mask.any(1, keepdim=True)
        pooled = masked_mean(attended, mask).masked_fill(~has_text, 0)
        return pooled, self.text_attention(pairs, text, mask)

    def _overlap(self) -> Float[Tensor, ""]:
        shared, *private = (
            layer.weight for layer in (self.shared, self.private_text, self.private_image)
        )
        return torch.stack([(shared @ one.T).square().mean() for one in private]).sum()
