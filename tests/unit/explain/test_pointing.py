"""The pointing game, where everything or nothing is the region, and against the saliency itself."""

import pytest
import torch

from mvcn.explain.pointing import hit_rates, is_hit
from mvcn.explain.saliency import image_saliency, num_image_tokens
from mvcn.inputs.batches import PostEncoder
from mvcn.training.run_folder import Run


@pytest.fixture(scope="module")
def model_and_posts(tiny_run, generated_posts):
    run = Run(tiny_run)
    model, processor = run.model, run.processor
    return model, PostEncoder.for_model(model, processor).encode(generated_posts[:4])


def test_a_token_half_in_the_region_counts():
    saliency = torch.tensor([0.1, 0.7, 0.2])
    assert is_hit(saliency, torch.tensor([0.0, 0.5, 1.0]))
    assert not is_hit(saliency, torch.tensor([1.0, 0.49, 1.0]))


def test_rates_are_those_of_the_most_salient_tokens(model_and_posts):
    model, posts = model_and_posts
    count = num_image_tokens(model, posts.inputs([0]))
    everything = {i: torch.ones(count) for i in (0, 1, 3)}
    assert set(hit_rates(model, posts, everything).values()) == {1}
    best = int(image_saliency(model, posts.inputs([1]), "occlusion").argmax())
    regions = {0: torch.zeros(count), 1: torch.eye(count)[best]}
    assert hit_rates(model, posts, regions)["occlusion"] == 0.5


def test_without_regions_there_is_no_rate(model_and_posts):
    assert hit_rates(*model_and_posts, {}) == {}
