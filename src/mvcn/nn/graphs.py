"""Small graphs: words that stand near each other, objects that are seen together."""

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

HIDDEN_SIZE = 256
SLOPE = 0.2
NEIGHBOUR_SHARE = 0.2
"""What a node takes from all its neighbours together; p of ML-GCN (Chen et al., CVPR 2019)."""
TOP = 5
"""Objects that count as seen in one image."""
PAIRS = 2**16
"""Weights of word pairs; two pairs may share one."""
FACTORS = (31_337, 7_919)
"""Primes that scatter pairs of words over the weights."""


class WordGraph(nn.Module):
    r"""Words take the strongest message of their neighbours; the text is the sum of its words.

    .. math::
        h_i \leftarrow \max_{|i - j| \le w} e_{ij} h_j, \quad
        t = \mathrm{ReLU}\Bigl(\sum_i h_i\Bigr)

    with one learned weight e for each pair of words in all texts.

    Args:
        width: Of the words' vectors.
        size: Of the text's vector.
        window: w.
        dropout: Of the sum.

    Source:
        Huang et al., EMNLP 2019, as Yang et al. use it: a word keeps nothing of its own.
    """

    def __init__(self, width: int, size: int, window: int, dropout: float) -> None:
        super().__init__()
        self.window = window
        self.projection = nn.Linear(width, size)
        self.pair_weights = nn.Parameter(torch.ones(PAIRS))
        self.dropout = nn.Dropout(dropout)

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
    r"""Scores of objects, which learn from those that they are often seen with.

    .. math::
        N = \mathrm{GCN}(\text{names}), \quad \text{scores} = N \max_p v_p

    With a `torch.distributed` process group the objects of all processes are counted, which must
    call it together in training; their graphs are then that of one process with the whole batch.

    Args:
        name_width: Width of the names' vectors.
        image_width: Width of the image's tokens v.
        num_objects: Nodes.
        hidden_size: Width between the two layers of the GCN.
        threshold: How often an object must be seen with another, as a share of the images with that
            other, to be its neighbour; all neighbours then count alike. By default a neighbour
            counts by how often it was seen with the object.

    Source:
        Yang et al., ACL 2021, and the authors' code, after ML-GCN (Chen et al., CVPR 2019), whose
        graph is the one with a threshold.  Deviations: the default one without, which suits counts
        that are made while training; both layers of the GCN have a bias.
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

    def forward(
        self,
        image: Float[Tensor, "batch patch dim"],
        mask: Bool[Tensor, "batch patch"],
        objects: Float[Tensor, "batch object"],
        names: Float[Tensor, "object name_dim"],
    ) -> Float[Tensor, "batch object"]:
        """Return a score for each object; zeros for a post without an image."""
        if self.training:
            self._count(objects)
        graph = self._graph()
        nodes = F.leaky_relu(graph @ self.first(names), SLOPE)
        nodes = self.second(graph @ nodes)
        strongest = image.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(1)
        scores: Tensor = strongest.masked_fill(~mask.any(1, keepdim=True), 0) @ nodes.T
        return scores

    @torch.no_grad()
    def _count(self, objects: Float[Tensor, "batch object"]) -> None:
        """Count the objects of this batch, of all processes that share it."""
        top = objects.topk(min(TOP, objects.shape[1]), dim=1).indices
        seen = torch.zeros_like(objects).scatter_(1, top, 1) * objects.any(1, keepdim=True)
        with torch.autocast(seen.device.type, enabled=False):  # it would round large counts
            together = seen.T @ seen
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(together)
        self.seen_together += together

    def _graph(self) -> Float[Tensor, "object other_object"]:
        """Return what each node takes from each: most from itself, the rest from its neighbours."""
        itself = torch.eye(len(self.seen_together), device=self.seen_together.device)
        together = self.seen_together * (1 - itself)
        if self.threshold is not None:
            return _binary_graph(together, self.seen_together.diagonal(), self.threshold)
        total = together.sum(1, keepdim=True)
        share = NEIGHBOUR_SHARE * (total > 0)
        return share * together / total.clamp(min=1) + (1 - share) * itself


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
    """Return the value `shift` places further on, zeros (False) beyond the ends."""
    moved = values.roll(-shift, 1)
    length = values.shape[1]
    place = torch.arange(length, device=values.device) + shift
    is_inside = ((place >= 0) & (place < length)).view(1, -1, *[1] * (values.ndim - 2))
    return moved.masked_fill(~is_inside, 0)
