"""Attention on a region, by hand-made weights and arithmetic; the pointing game."""

import pytest
import torch

from mvcn.data.synthetic import CELL_PX, GRID_CELLS, PATCH_CELLS, generate_posts
from mvcn.explain.observation import mean_attention
from mvcn.explain.saliency import (
    cover_shares,
    hit_rates,
    image_saliency,
    is_hit,
    measure_attention,
    num_image_tokens,
)
from mvcn.inputs.batches import PostEncoder
from mvcn.training.run_folder import Run

IMAGE_PX = GRID_CELLS * CELL_PX


def test_a_box_on_the_grid_covers_whole_cells_and_no_others():
    # Columns 1 and 2, rows 0 and 1 of four by four cells of 10 pixels.
    cover = cover_shares((10, 0, 30, 20), 40, 16)
    assert cover.view(4, 4).tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_a_box_between_cells_covers_them_in_part():
    # Cells of 20 pixels; half of a cell's width times a quarter of its height is 1/8.
    assert cover_shares((5, 0, 15, 5), 40, 4).tolist() == [0.125, 0, 0, 0]
    assert cover_shares((10, 0, 30, 5), 40, 4).tolist() == [0.125, 0.125, 0, 0]


def test_the_covered_area_is_the_area_of_the_box_whatever_the_grid():
    box, area = (32, 64, 96, 128), (64 / 224) ** 2
    for side in (2, 3, 7, 14):
        assert float(cover_shares(box, 224, side**2).mean()) == pytest.approx(area, abs=1e-12)


def test_a_class_token_before_the_patches_is_no_cell():
    cover = cover_shares((0, 0, 10, 10), 40, 17)
    assert cover.tolist() == [0, 1, *[0] * 15]


def test_patches_of_generated_posts_are_four_cells_of_forty_nine():
    for generated in generate_posts(5, seed=1):
        cover = cover_shares(generated.patch_box_px, IMAGE_PX, GRID_CELLS**2)
        assert sorted(cover.tolist())[-(PATCH_CELLS**2) - 1 :] == [0, 1, 1, 1, 1]


def test_mass_is_the_mean_over_heads_and_tokens():
    weights = torch.tensor(
        [
            [[0.5, 0.5, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]],
            [[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0]],
        ]
    )
    measured = measure_attention(weights, torch.tensor([0.0, 1.0, 1.0, 0.0]))
    # Head 1: tokens give 0.5 and 1.0; head 2: 0.5 and 0.0.
    assert measured.mass == pytest.approx((0.5 + 1.0 + 0.5 + 0.0) / 4, abs=1e-7)
    # Zeros: 2 and 3 of four in head 1, 0 and 3 in head 2.
    assert measured.zeros == (2 + 3 + 0 + 3) / 16
    # Mean weights: (0.5+0+0.1+1)/4 = 0.4, (0.5+1+0.2+0)/4 = 0.425, 0.075, 0.1.
    means = mean_attention(weights)
    torch.testing.assert_close(means.float(), torch.tensor([0.4, 0.425, 0.075, 0.1]))
    assert measured.is_hit


def test_a_hit_needs_half_of_the_cell():
    weights = torch.tensor([[[0.7, 0.3]]])
    assert measure_attention(weights, torch.tensor([0.5, 1.0])).is_hit
    assert not measure_attention(weights, torch.tensor([0.4, 1.0])).is_hit


def test_equal_weights_have_the_mass_of_chance():
    weights = torch.full((3, 4, 49), 1 / 49)
    region = cover_shares((64, 64, 128, 128), IMAGE_PX, 49)
    measured = measure_attention(weights, region)
    assert measured.mass == pytest.approx(4 / 49, abs=1e-7)
    assert measured.zeros == 0


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
