"""The loss that two processes share is that of one, whatever part of the batch each has."""

import pytest
import torch

from mvcn.losses import Targets
from mvcn.losses.distributed import gather_views, global_mean, local_mean
from tests.contracts.test_objectives import BATCH, CONTRASTS, Output, draw, objective_of
from tests.processes import run_ranks

SETTINGS = {
    "queue": {"congruity_form": "ratio"},
    "batch centroids": {"congruity_form": "absolute", "centroids": "batch"},
    "contrasts": {**CONTRASTS, "congruity_weight": 0.0},
}
EVERYTHING_ELSE = {
    "queue_size": 11,
    "calibration": 0.5,
    "unimodal_label_weight": 0.3,
    "distillation_weight": 0.4,
    "penalty_weight": 0.3,
    "class_weights": {"b": 2.0, "c": 0.5},
}
SPLITS = [(4, 4), (5, 3), (8, 0)]
STEPS = 3


def share_of(seed, posts, weight):
    """Return some posts of a batch, in float64, that depend on one weight for all posts."""
    output, targets = draw(seed)
    rows = {name: value.detach().double() for name, value in vars(output).items()}
    parts = {
        name: (rows[name][:, posts] if name == "views" else rows[name][posts]) * weight
        for name in ("fused_logits", "fused_feature", "pair_logits", "views")
    }
    return Output(**parts, penalty=rows["penalty"] * weight), targets, posts


def train(objective, posts, stand_in=False):
    """Return the loss parts and the gradients of some steps, of which only `posts` are one's own.

    Without posts of its own, a process takes one that is not valid.
    """
    seen = []
    for step in range(STEPS):
        weight = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
        output, targets, _ = share_of(step, posts, weight)
        valid_mask = torch.full((len(targets.labels[posts]),), not stand_in)
        targets = Targets(*(None if t is None else t[posts] for t in targets[:-1]), valid_mask)
        parts = objective(output, targets)
        parts["loss"].backward()
        objective.after_step(output, targets)
        seen.append({name: part.item() for name, part in parts.items()})
        seen[-1]["gradient"] = weight.grad.item()
    return seen


def build(options):
    objective = objective_of(**EVERYTHING_ELSE, **options)
    objective.activate()
    return objective


def process(rank, folder):
    """Take a share of each batch, for each way to split it and all settings."""
    meeting = f"file://{folder}/meeting"
    torch.distributed.init_process_group("gloo", meeting, world_size=2, rank=rank)
    kept = {}
    for split in SPLITS:
        start = sum(split[:rank])
        posts = slice(start, start + split[rank]) if split[rank] else slice(0, 1)
        for name, options in SETTINGS.items():
            objective = build(options)
            seen = train(objective, posts, stand_in=split[rank] == 0)
            kept[f"{split} {name}"] = {"seen": seen, "state": objective.state_dict()}
    torch.save(kept, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two processes has seen."""
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(process, folder)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("split", SPLITS, ids=str)
@pytest.mark.parametrize("name", SETTINGS)
def test_the_means_of_parts_and_gradients_are_those_of_one_process(ranks, split, name):
    expected = train(build(SETTINGS[name]), slice(0, BATCH))
    shares = [rank[f"{split} {name}"]["seen"] for rank in ranks]
    for step, one, other in zip(expected, *shares, strict=True):
        assert step.keys() == one.keys()
        for part, value in step.items():
            assert (one[part] + other[part]) / 2 == pytest.approx(value, rel=1e-6), part


@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_the_queue_is_the_same_everywhere(ranks, split):
    objective = build(SETTINGS["queue"])
    train(objective, slice(0, BATCH))
    for rank in ranks:
        found = rank[f"{split} queue"]["state"]
        for name, value in objective.state_dict().items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6, msg=name)
    for name, value in ranks[0][f"{split} queue"]["state"].items():
        assert torch.equal(value, ranks[1][f"{split} queue"]["state"][name]), name


def test_alone_nothing_is_gathered():
    losses, valid_mask = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([True, False, True])
    assert global_mean(losses) == local_mean(losses) == 3
    assert global_mean(losses, valid_mask) == local_mean(losses, valid_mask) == 3.5
    assert local_mean(losses, torch.zeros(3, dtype=torch.bool)) == 0
    views, labels = torch.ones(2, 3, 4), torch.arange(3)
    assert gather_views(views, labels) == (views, labels)
