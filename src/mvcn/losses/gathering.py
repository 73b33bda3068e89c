"""One batch made of what all processes of a training hold."""

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor


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
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return features, labels
    counts = [torch.zeros_like(labels[:1].sum()) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, torch.full_like(counts[0], len(labels)))
    sizes = [int(count) for count in counts]
    return _gather(features, sizes), _gather(labels, sizes)


def _gather(rows: Tensor, sizes: list[int]) -> Tensor:
    """Gather rows, padded to as many as any process has."""
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
