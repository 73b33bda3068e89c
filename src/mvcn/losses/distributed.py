"""Losses over a batch that several processes share.

Each process has a rank batch, a slice of every batch, and gradients are averaged over processes.
These functions give the result of a single process with the complete batch, even if rank batches
differ in size or are empty.
"""

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
from torch import Tensor


def num_processes() -> int:
    """Return the number of processes that train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_batch(
    features: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
) -> tuple[Float[Tensor, "all_posts dim"], Int[Tensor, " all_posts"]]:
    """Return the posts of all processes in the order of ranks, the same on each process.

    All processes must call it equally often; their numbers of posts may differ.

    Args:
        features: Features of this process; no gradient flows through the result.
        labels: Classes of the posts.
    """
    features = features.detach()
    if num_processes() == 1:
        return features, labels
    with torch.no_grad():
        sizes = _sizes(labels)
        return torch.cat(_gather(features, sizes)), torch.cat(_gather(labels, sizes))


def gather_views(
    views: Float[Tensor, "2 batch dim"], labels: Int[Tensor, " batch"]
) -> tuple[Float[Tensor, "2 all_posts dim"], Int[Tensor, " all_posts"]]:
    """Return the posts of all processes as `gather_batch` does, with gradients to the own ones.

    Gradients are scaled by the number of processes, so that their mean over processes is the
    gradient of a loss over all posts, which each process computes.
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


def local_mean(
    losses: Float[Tensor, " batch"], valid_mask: Bool[Tensor, " batch"] | None = None
) -> Float[Tensor, ""]:
    """Return the mean over the valid losses of this process, 0 without any.

    Args:
        losses: One loss per post.
        valid_mask: False for a post to leave out; by default all are valid.
    """
    if valid_mask is None:
        return losses.mean()
    return torch.where(valid_mask, losses, 0).sum() / valid_mask.sum().clamp(min=1)


def global_mean(
    losses: Float[Tensor, " batch"], valid_mask: Bool[Tensor, " batch"] | None = None
) -> Float[Tensor, ""]:
    """Return this process's contribution to the mean over the valid losses of all processes.

    The mean of the contributions is the mean over all losses, likewise for gradients. All processes
    must call it equally often. For a single process it is `local_mean`.
    """
    if num_processes() == 1:
        return local_mean(losses, valid_mask)
    valid_mask = torch.ones_like(losses, dtype=torch.bool) if valid_mask is None else valid_mask
    total = valid_mask.sum()
    dist.all_reduce(total)
    return torch.where(valid_mask, losses, 0).sum() * num_processes() / total.clamp(min=1)


def global_mean_weight(count: int | Int[Tensor, ""]) -> Float[Tensor, ""]:
    """Return by what the mean of this process is multiplied to become its part of `global_mean`.

    Args:
        count: Number of losses in the mean of this process.
    """
    total = torch.as_tensor(count).clone()
    dist.all_reduce(total)
    return num_processes() * count / total.clamp(min=1)


def _sizes(labels: Tensor) -> list[int]:
    """Return the number of posts of each process."""
    counts = [torch.zeros_like(labels[:1].sum()) for _ in range(num_processes())]
    dist.all_gather(counts, torch.full_like(counts[0], len(labels)))
    return [int(count) for count in counts]


def _gather(rows: Tensor, sizes: list[int]) -> list[Tensor]:
    """Gather tensors of different lengths, padded to the longest in transit."""
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return [part[:size] for part, size in zip(parts, sizes, strict=True)]
