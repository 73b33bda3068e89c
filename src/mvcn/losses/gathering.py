"""One batch made of what all processes of a training hold.

A training of several processes gives each a share of every batch, and averages their gradients.
What is below makes the outcome that of one process with the whole batch, also where the shares
differ in size or a process has none.
"""

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
from torch import Tensor


def num_processes() -> int:
    """Return how many processes train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@torch.no_grad()
def gather_batch(
    features: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
) -> tuple[Float[Tensor, "all_posts dim"], Int[Tensor, " all_posts"]]:
    """Return the posts of all processes in the order of their ranks, the same on each of them.

    Without a process group, or in one of a single process, these are the posts themselves. Each
    process must call it as often as the others; how many posts each has may differ.

    Args:
        features: This process's features; no gradient flows through what is returned.
        labels: Their classes.
    """
    features = features.detach()
    if num_processes() == 1:
        return features, labels
    sizes = _sizes(labels)
    return torch.cat(_gather(features, sizes)), torch.cat(_gather(labels, sizes))


def gather_views(
    views: Float[Tensor, "2 batch dim"], labels: Int[Tensor, " batch"]
) -> tuple[Float[Tensor, "2 all_posts dim"], Int[Tensor, " all_posts"]]:
    """Return the posts of all processes as `gather_batch` does, with gradients to one's own.

    These are as many times larger as there are processes. So the mean of the processes' gradients
    is the gradient of a loss over all posts, which each process computes for itself.
    """
    if num_processes() == 1:
        return views, labels
    sizes, rank = _sizes(labels), dist.get_rank()
    with torch.no_grad():
        parts = _gather(views.detach().transpose(0, 1).contiguous(), sizes)
        all_labels = torch.cat(_gather(labels, sizes))
    own = views.transpose(0, 1)
    parts[rank] = own.detach() + num_processes() * (own - own.detach())
    return torch.cat(parts).transpose(0, 1), all_labels


def mean_of_own(
    terms: Float[Tensor, " batch"], counted: Bool[Tensor, " batch"] | None = None
) -> Float[Tensor, ""]:
    """Return the mean over the counted terms of this process, 0 without any.

    Args:
        terms: One a post.
        counted: Which of them count; by default all.
    """
    if counted is None:
        return terms.mean()
    return torch.where(counted, terms, 0).sum() / counted.sum().clamp(min=1)


def mean_of_all(
    terms: Float[Tensor, " batch"], counted: Bool[Tensor, " batch"] | None = None
) -> Float[Tensor, ""]:
    """Return this process's part in the mean over the counted terms of all processes.

    The mean of the parts is the mean over all terms, and so it is with their gradients. Each
    process must call it as often as the others. A single process gets `mean_of_own`.
    """
    if num_processes() == 1:
        return mean_of_own(terms, counted)
    counted = torch.ones_like(terms, dtype=torch.bool) if counted is None else counted
    total = counted.sum()
    dist.all_reduce(total)
    return torch.where(counted, terms, 0).sum() * num_processes() / total.clamp(min=1)


def _sizes(labels: Tensor) -> list[int]:
    """Return how many posts each process has."""
    counts = [torch.zeros_like(labels[:1].sum()) for _ in range(num_processes())]
    dist.all_gather(counts, torch.full_like(counts[0], len(labels)))
    return [int(count) for count in counts]


def _gather(rows: Tensor, sizes: list[int]) -> list[Tensor]:
    """Gather rows, padded on the way to as many as any process has."""
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return [part[:size] for part, size in zip(parts, sizes, strict=True)]
