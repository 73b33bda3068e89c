"""MGNNS: graphs of words and of objects, with cross-attention between them (Yang et al. 2021)."""

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mvcn.models.network import MvcnOutput, Network, Tokens
from mvcn.nn.attention import MultiHeadAttention
from mvcn.nn.layers import MaskedLstm
from mvcn.settings import Count

SIZE = 300
NUM_HEADS = 4
NUM_BLOCKS = 2
DROPOUT = 0.5
# Sizes of the authors' code, which the measured form does not use.
HEAD_SIZE = 128
ATTENTION_DROPOUT = 0.1
GRAPH_SIZE = 1024
THRESHOLD = 0.3
"""Threshold of the graph of objects in the authors' command for MVSA."""

HIDDEN_SIZE = 256
SLOPE = 0.2
NEIGHBOUR_SHARE = 0.2
"""Weight of all neighbours of a node together; p of ML-GCN (Chen et al., CVPR 2019)."""
TOP = 5
"""Objects that are counted in one image."""
PAIRS = 2**16
"""Weights of word pairs, to which pairs are hashed."""
FACTORS = (31_337, 7_919)
"""Primes of the hash of word pairs."""


class Mgnns(Network):
    """Text, objects and scene as graphs, whose vectors attend to the tokens of the other modality.

    Args:
        text_width: Width of the text encoder's tokens, and of names of objects.
        image_width: Width of the image encoder's tokens.
        num_objects: Classes of the published image encoder.
        num_classes: Classes K.
        window: Largest distance of two neighbouring words.
        faithful: Labels, cross-attention and graph of objects as in the authors' code.

    Source:
        Yang et al., ACL 2021, and the authors' code.  Deviations: objects are the image encoder's
        own classes, where the authors use YOLO's; scenes are the same objects again, as no network
        trained on scenes is available, and one projection of the regions serves both;
        co-occurrences are counted during training, and not before; two word pairs may share a
        weight, and rare pairs have one as well; words are the text encoder's tokens; all weights
        are trained, where the authors' optimizer leaves some out.  Deviations of the measured form,
        but not of `faithful`: those of `LabelAttention`; cross-attention has no dropout, where the
        authors drop 0.1 of the weights and 0.5 of each residual, and its four heads share the width
        of 300, where theirs are 128 wide each; edges of the graph of objects are co-occurrence
        rates, which the authors binarise at a threshold; one width of 256 inside the graph of
        objects, where theirs is 1024.
    """

    def __init__(
        self,
        text_width: int,
        image_width: int,
        num_objects: int,
        num_classes: int,
        *,
        window: Count = 4,
        faithful: bool = False,
    ) -> None:
        super().__init__()
        self.feature_size = SIZE
        self.word_graph = WordGraph(text_width, SIZE, window, DROPOUT)
        self.object_graph = ObjectGraph(
            text_width,
            image_width,
            num_objects,
            hidden_size=GRAPH_SIZE if faithful else HIDDEN_SIZE,
            threshold=THRESHOLD if faithful else None,
        )
        attention = PublishedLabelAttention if faithful else LabelAttention
        self.labels = nn.ModuleList(attention(num_objects, num_classes) for _ in range(2))
        self.words = MaskedLstm(text_width, SIZE // 2, num_layers=2, dropout=DROPOUT)
        self.regions = nn.Linear(image_width, SIZE)
        self.text_attention, self.image_attention = (
            nn.ModuleList(CrossAttention(faithful=faithful) for _ in range(2)) for _ in range(2)
        )
        self.mix = nn.Linear(4 * SIZE, SIZE)
        self.dropout = nn.Dropout(DROPOUT)
        self.classifier = nn.Linear(SIZE, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts."""
        text = self.word_graph(tokens.text, tokens.word_ids, tokens.text_mask)
        scores = self.object_graph(
            tokens.image, tokens.image_mask, tokens.objects, tokens.object_names
        )
        words = self.words(tokens.text, tokens.text_mask)
        regions = self.regions(tokens.image)
        vectors = [attend(text, regions, tokens.image_mask) for attend in self.text_attention]
        for labels, attend in zip(self.labels, self.image_attention, strict=True):
            vectors.append(attend(labels(scores), words, tokens.text_mask))
        feature = self.mix(torch.cat(vectors, 1))
        logits = self.classifier(self.dropout(feature))
        return MvcnOutput(logits, feature, logits)


class WordGraph(nn.Module):
    r"""The maximum over the messages of a word's neighbours, and the sum of these over the text.

    .. math::
        h_i \leftarrow \max_{|i - j| \le w} e_{ij} h_j, \quad
        t = \mathrm{ReLU}\Bigl(\sum_i h_i\Bigr)

    with one learned weight e for each pair of words in all texts.

    Args:
        width: Width of the words' vectors.
        size: Width of the text's vector.
        window: w.
        dropout: Dropout of the sum.

    Source:
        Huang et al., EMNLP 2019, as Yang et al. use it: a word keeps no share of its own vector.
    """

    def __init__(self, width: int, size: int, window: int, dropout: float) -> None:
        super().__init__()
        self.window = window
        self.projection = nn.Linear(width, size)
        self.pair_weights = nn.Parameter(torch.ones(PAIRS))
        self.dropout = nn.Dropout(dropout)

    def reset_parameters(self) -> None:
        """Set the weight of each pair of words to 1."""
        nn.init.ones_(self.pair_weights)

    def forward(
        self,
        words: Float[Tensor, "batch token dim"],
        word_ids: Int[Tensor, "batch token"],
        mask: Bool[Tensor, "batch token"],
    ) -> Float[Tensor, "batch size"]:
        """Return one vector for each text; zeros for none."""
        nodes = self.projection(words)
        strongest = torch.full_like(nodes, -torch.inf)
        for shift in range(-self.window, self.window + 1):
            other, other_ids, is_real = (_shifted(x, shift) for x in (nodes, word_ids, mask))
            pairs = (word_ids * FACTORS[0] + other_ids * FACTORS[1]) % PAIRS
            messages = self.pair_weights[pairs].unsqueeze(-1) * other
            strongest = strongest.maximum(messages.masked_fill(~is_real.unsqueeze(-1), -torch.inf))
        summed = strongest.masked_fill(~mask.unsqueeze(-1), 0).sum(1)
        return F.relu(self.dropout(summed))


class ObjectGraph(nn.Module):
    r"""Scores of objects from a graph convolution over objects that often occur together.

    .. math::
        N = \mathrm{GCN}(\text{names}), \quad \text{scores} = N \max_p v_p

    With a `torch.distributed` process group, all processes must call it together in training: they
    count the objects of the batch of all processes.

    Args:
        name_width: Width of the names' vectors.
        image_width: Width of the image's tokens v.
        num_objects: Nodes.
        hidden_size: Width between the two layers of the GCN.
        threshold: Smallest share of the images with an object in which another must occur to be its
            neighbour, all neighbours having the same weight. By default neighbours are weighted by
            the number of co-occurrences.

    Source:
        Yang et al., ACL 2021, and the authors' code, after ML-GCN (Chen et al., CVPR 2019), whose
        graph is the one with a threshold.  Deviations: the default graph has none, which suits
        counts that grow during training; both layers of the GCN have a bias.
    """

    seen_together: Tensor

    def __init__(
        self,
        name_width: int,
        image_width: int,
        num_objects: int,
        *,
        hidden_size: int = HIDDEN_SIZE,
        threshold: float | None = None,
    ) -> None:
        super().__init__()
        self.threshold = threshold
        self.register_buffer("seen_together", torch.zeros(num_objects, num_objects))
        self.first = nn.Linear(name_width, hidden_size)
        self.second = nn.Linear(hidden_size, image_width)

    def reset_parameters(self) -> None:
        """Forget which objects were seen together."""
        nn.init.zeros_(self.seen_together)

    def forward(
        self,
        image: Float[Tensor, "batch patch dim"],
        mask: Bool[Tensor, "batch patch"],
        objects: Float[Tensor, "batch object"],
        names: Float[Tensor, "object name_dim"],
    ) -> Float[Tensor, "batch object"]:
        """Return one score per object; zeros for a post without an image."""
        if self.training:
            self._count(objects)
        graph = self._graph().to(names.dtype)
        nodes = F.leaky_relu(graph @ self.first(names), SLOPE)
        nodes = self.second(graph @ nodes)
        strongest = image.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(1)
        scores: Tensor = strongest.masked_fill(~mask.any(1, keepdim=True), 0) @ nodes.T
        return scores

    @torch.no_grad()
    def _count(self, objects: Float[Tensor, "batch object"]) -> None:
        """Count the objects of this batch in all processes."""
        top = objects.topk(min(TOP, objects.shape[1]), dim=1).indices
        seen = torch.zeros_like(objects).scatter_(1, top, 1) * objects.any(1, keepdim=True)
        with torch.autocast(seen.device.type, enabled=False):  # would round large counts
            together = seen.T @ seen
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(together)
        self.seen_together += together

    def _graph(self) -> Float[Tensor, "object other_object"]:
        """Return the weights of each node: most for itself, the rest for its neighbours."""
        itself = torch.eye(len(self.seen_together), device=self.seen_together.device)
        together = self.seen_together * (1 - itself)
        if self.threshold is not None:
            return _binary_graph(together, self.seen_together.diagonal(), self.threshold)
        total = together.sum(1, keepdim=True)
        share = NEIGHBOUR_SHARE * (total > 0)
        return share * together / total.clamp(min=1) + (1 - share) * itself


class LabelAttention(nn.Module):
    """One vector from the scores of objects, by attention of the classes.

    Args:
        num_objects: Scores.
        num_classes: Classes.

    Source:
        Yang et al., ACL 2021, and the authors' code.  Deviations: the classes' vectors are learned
        and not GloVe's; scores are normalised first, and one projection of them is key and value;
        no projection of the classes' vectors or of the attention's output; four heads, whose
        products are not scaled and whose weights have no dropout. `PublishedLabelAttention` has
        only the first of these.
    """

    HIDDEN = 100

    def __init__(self, num_objects: int, num_classes: int) -> None:
        super().__init__()
        self.scores = nn.Sequential(nn.LayerNorm(num_objects), nn.Linear(num_objects, SIZE))
        self.classes = nn.Parameter(torch.empty(num_classes, SIZE))
        self.reset_parameters()
        self.hidden = nn.Linear(SIZE, self.HIDDEN)
        self.out = nn.Linear(num_classes * self.HIDDEN, SIZE)

    def reset_parameters(self) -> None:
        """Draw the vectors of the classes from a standard normal distribution."""
        nn.init.normal_(self.classes)

    def forward(self, scores: Float[Tensor, "batch object"]) -> Float[Tensor, "batch size"]:
        """Return one vector for each post."""
        values = self.scores(scores).unsqueeze(1)
        heads = (values * self.classes).unflatten(-1, (NUM_HEADS, -1)).softmax(-1).flatten(2)
        vector: Tensor = self.out(self.hidden(heads * values).flatten(1))
        return vector


class PublishedLabelAttention(nn.Module):
    r"""One vector from the scores of objects, with projections for query, key and value.

    .. math::
        a_c = \mathrm{softmax}_{60}\bigl(Q e_c \odot K s / \sqrt{60}\bigr), \quad
        o_c = W (a_c \odot V s)

    with scores s and class vectors e; the softmax is over the 60 numbers of each of five heads.

    Args:
        num_objects: Scores.
        num_classes: Classes.

    Source:
        The code of Yang et al., ACL 2021.  Deviation: the classes' vectors are learned and not
        GloVe's.
    """

    HEADS = 5
    HIDDEN = 100

    def __init__(self, num_objects: int, num_classes: int) -> None:
        super().__init__()
        self.classes = nn.Parameter(torch.empty(num_classes, SIZE))
        self.reset_parameters()
        self.query = nn.Linear(SIZE, SIZE)
        self.key = nn.Linear(num_objects, SIZE)
        self.value = nn.Linear(num_objects, SIZE)
        self.dropout = nn.Dropout(DROPOUT)
        self.collected = nn.Linear(SIZE, SIZE)
        self.hidden = nn.Linear(SIZE, self.HIDDEN)
        self.out = nn.Linear(num_classes * self.HIDDEN, SIZE)

    def reset_parameters(self) -> None:
        """Draw the vectors of the classes from a standard normal distribution."""
        nn.init.normal_(self.classes)

    def forward(self, scores: Float[Tensor, "batch object"]) -> Float[Tensor, "batch size"]:
        """Return one vector for each post."""
        products = self.query(self.classes) * self.key(scores).unsqueeze(1)
        heads = products.unflatten(-1, (self.HEADS, -1))
        weights = self.dropout((heads / heads.shape[-1] ** 0.5).softmax(-1)).flatten(2)
        collected = self.collected(weights * self.value(scores).unsqueeze(1))
        vector: Tensor = self.out(self.hidden(collected).flatten(1))
        return vector


class CrossAttention(nn.Module):
    """Two blocks of a transformer decoder in which one vector attends to tokens.

    Args:
        faithful: Use the dropout and the wide heads of the authors' code.
    """

    def __init__(self, *, faithful: bool) -> None:
        super().__init__()
        head_dim, dropout = (HEAD_SIZE, ATTENTION_DROPOUT) if faithful else (None, 0.0)
        self.dropout = nn.Dropout(DROPOUT if faithful else 0.0)
        self.attention = nn.ModuleList(
            MultiHeadAttention(SIZE, NUM_HEADS, head_dim=head_dim, dropout=dropout)
            for _ in range(NUM_BLOCKS)
        )
        self.feedforward = nn.ModuleList(
            nn.Sequential(nn.Linear(SIZE, SIZE), nn.ReLU(), nn.Linear(SIZE, SIZE))
            for _ in range(NUM_BLOCKS)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(SIZE) for _ in range(2 * NUM_BLOCKS))

    def forward(
        self,
        query: Float[Tensor, "batch size"],
        tokens: Float[Tensor, "batch token size"],
        mask: Bool[Tensor, "batch token"],
    ) -> Float[Tensor, "batch size"]:
        """Return the vector after both blocks."""
        state = query.unsqueeze(1)
        norms = iter(self.norms)
        for attention, feedforward in zip(self.attention, self.feedforward, strict=True):
            state = next(norms)(state + self.dropout(attention(state, tokens, mask)[0]))
            state = next(norms)(state + self.dropout(feedforward(state)))
        return state.squeeze(1)


def _binary_graph(
    together: Float[Tensor, "object other_object"], seen: Float[Tensor, " object"], threshold: float
) -> Float[Tensor, "object other_object"]:
    """Return ML-GCN's graph: its equations 7 and 8, and the normalisation of its code."""
    likely = (together / seen.clamp(min=1).unsqueeze(1) >= threshold).to(together.dtype)
    neighbours = NEIGHBOUR_SHARE * likely / likely.sum(0).clamp(min=1)
    graph = neighbours + (1 - NEIGHBOUR_SHARE) * torch.eye(len(seen), device=seen.device)
    scale = graph.sum(1).rsqrt()
    return scale.unsqueeze(1) * graph.T * scale


def _shifted(values: Tensor, shift: int) -> Tensor:
    """Return the values `shift` positions later, zeros (False) beyond the ends."""
    moved = values.roll(-shift, 1)
    length = values.shape[1]
    place = torch.arange(length, device=values.device) + shift
    is_inside = ((place >= 0) & (place < length)).view(1, -1, *[1] * (values.ndim - 2))
    return moved.masked_fill(~is_inside, 0)
