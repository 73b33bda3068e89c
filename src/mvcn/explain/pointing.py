"""Whether an explanation points at the part of an image that is known to decide."""

import statistics
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from mvcn.explain.saliency import Method, image_saliency, methods_for
from mvcn.inputs.batches import EncodedPosts
from mvcn.models.classification import MvcnForClassification

HALF = 0.5


def is_hit(saliency: Float[Tensor, " patch"], region: Float[Tensor, " patch"]) -> bool:
    """Tell whether the most salient image token lies in the region by half or more."""
    return bool(region[saliency.argmax()] >= HALF)


def hit_rates(
    model: MvcnForClassification, posts: EncodedPosts, regions: Mapping[int, Tensor]
) -> dict[Method, float]:
    """Return the share of posts in which each method that the model allows points at the region.

    Nothing, where no post has a region.

    Args:
        model: In evaluation mode.
        posts: Some of them have a region.
        regions: Position of a post -> share of each image token's cell that the region covers.

    Source:
        The pointing game of Zhang et al., ECCV 2016. Deviation: no margin around the region.
    """
    hits: dict[Method, list[bool]] = {method: [] for method in methods_for(model)}
    for position, region in tqdm(regions.items(), desc="Pointing", unit="post"):
        inputs = posts.inputs([position])
        for method, found in hits.items():
            found.append(is_hit(image_saliency(model, inputs, method), region))
    return {method: statistics.fmean(found) for method, found in hits.items() if found}
