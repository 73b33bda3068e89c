"""The constraint with its queue as one loss: what it remembers, when, and across processes."""

import inspect
import pydoc
import re
import subprocess
import sys

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn

from mvcn.errors import ConfigError, DataError
from mvcn.losses import CentroidQueue, SemanticCongruityLoss, batch_centroids, congruity_loss
from mvcn.losses.distributed import gather_batch
from tests.processes import run_ranks

pytestmark = pytest.mark.usefixtures("code")

DIM, CLASSES = 5, 3


def draw(posts, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(posts) % CLASSES
    return torch.randn(posts, DIM, generator=generator), labels


def test_measures_against_what_was_remembered_before():
    constraint = SemanticCongruityLoss(CLASSES, DIM, queue_size=12)
    remembered, features = draw(12, seed=1), draw(6, seed=2)
    constraint(*remembered)
    expected = congruity_loss(*features, *batch_centroids(*remembered, CLASSES), "ratio")
    assert constraint(*features).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("form", ["ratio", "share"])
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_after_several_laps_it_is_the_formula_at_every_scale(scale, form):
    constraint, size = SemanticCongruityLoss(CLASSES, DIM, queue_size=10, form=form), 10
    posts, classes = draw(34)
    posts = posts * scale
    for start in range(0, 30, 6):
        constraint(posts[start : start + 6], classes[start : start + 6])
    rows, labels = posts.double().numpy(), classes.numpy()
    kept = slice(30 - size, 30)
    means = [rows[kept][labels[kept] == k].mean(0) for k in range(CLASSES)]
    terms = []
    for row, label in zip(rows[30:], labels[30:], strict=True):
        distances = [((row - mean) ** 2).sum() for mean in means]
        others = [distance for k, distance in enumerate(distances) if k != label]
        reference = np.mean(others) if form == "ratio" else sum(distances)
        terms.append(distances[label] / reference)
    loss = constraint(posts[30:], classes[30:])
    assert loss.item() == pytest.approx(np.mean(terms), rel=1e-6)


def test_is_zero_with_zero_gradients_until_the_queue_is_full():
    constraint = SemanticCongruityLoss(CLASSES, DIM, queue_size=12)
    for seed in range(2):
        features, labels = draw(6, seed)
        loss = constraint(features.requires_grad_(), labels)
        loss.backward()
        assert (loss.item(), features.grad.abs().max().item()) == (0, 0)
    assert constraint(*draw(6, seed=2)).item() > 0


def test_evaluation_measures_and_remembers_nothing():
    constraint = SemanticCongruityLoss(CLASSES, DIM, queue_size=6)
    constraint(*draw(6))
    before = {name: value.clone() for name, value in constraint.state_dict().items()}
    assert constraint.eval()(*draw(6, seed=1)).item() > 0
    after = constraint.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_micro_batches_leave_the_queue_of_one_batch():
    whole, parts = (SemanticCongruityLoss(CLASSES, DIM, queue_size=10) for _ in range(2))
    features, labels = draw(24)
    whole(features, labels)
    for start in range(0, 24, 6):
        parts(features[start : start + 6], labels[start : start + 6])
    rows = [torch.cat([x.queue.features, x.queue.labels.unsqueeze(1)], 1) for x in (whole, parts)]
    assert sorted(rows[0].tolist()) == sorted(rows[1].tolist())
    for one, other in zip(whole.queue.centroids(), parts.queue.centroids(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_a_module_that_holds_it_saves_it():
    module = nn.ModuleDict({"constraint": SemanticCongruityLoss(CLASSES, DIM, queue_size=6)})
    module["constraint"](*draw(9))
    again = nn.ModuleDict({"constraint": SemanticCongruityLoss(CLASSES, DIM, queue_size=6)})
    again.load_state_dict(module.state_dict())
    batch = draw(4, seed=1)
    assert again["constraint"](*batch).item() == module["constraint"](*batch).item()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_is_computed_in_single(dtype):
    single, mixed = (SemanticCongruityLoss(CLASSES, DIM, queue_size=6) for _ in range(2))
    batches = [draw(6, seed) for seed in range(2)]
    losses = []
    for features, labels in batches:
        rounded = features.to(dtype).requires_grad_()
        with torch.autocast("cpu", dtype):
            losses.append(mixed(rounded, labels))
        expected = single(rounded.detach().float(), labels)
    assert losses[1].dtype == torch.float32
    assert losses[1].item() == expected.item()
    losses[1].backward()
    assert rounded.grad.dtype == dtype
    assert mixed.queue.features.dtype == torch.float32


@pytest.mark.parametrize("label", [-1, CLASSES])
def test_what_is_no_class_is_refused_and_not_remembered(label):
    constraint = SemanticCongruityLoss(CLASSES, DIM)
    features, labels = draw(3)
    with pytest.raises(DataError, match=f"Post 1 of the batch has label {label}"):
        constraint(features, labels.index_fill(0, torch.tensor([1]), label))
    assert constraint.queue.num_filled() == 0


@pytest.mark.parametrize(
    ("features", "labels", "words"),
    [
        (torch.zeros(2, 1), torch.tensor([0, 1]), r"\(2, 1\)"),
        (torch.zeros(3, DIM), torch.tensor([0, 1]), r"\(batch, 5\)"),
        (torch.zeros(2, 4, DIM), torch.tensor([0, 1]), r"\(2, 4, 5\)"),
        (torch.zeros(2, DIM), torch.eye(CLASSES, dtype=torch.int64)[:2], "one class number"),
        (torch.zeros(2, DIM), torch.tensor([0.0, 1.0]), "must be integers"),
        (torch.zeros(2, DIM), torch.tensor([False, True]), "must be integers"),
    ],
)
def test_what_does_not_fit_is_refused_and_not_remembered(features, labels, words):
    constraint = SemanticCongruityLoss(CLASSES, DIM)
    for take in (constraint, constraint.queue.enqueue):
        with pytest.raises(DataError, match=words):
            take(features, labels)
    assert constraint.queue.num_filled() == 0


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32])
def test_labels_may_be_whole_numbers_of_any_width(dtype):
    narrow, wide = (SemanticCongruityLoss(CLASSES, DIM, queue_size=6) for _ in range(2))
    for seed in range(2):
        features, labels = draw(CLASSES * 2, seed)
        losses = narrow(features, labels.to(dtype)).item(), wide(features, labels).item()
    assert losses[0] == losses[1] > 0


@pytest.mark.parametrize("sizes", [(0, DIM, 6), (CLASSES, 0, 6), (CLASSES, DIM, 0)])
def test_a_queue_without_room_is_refused(sizes):
    with pytest.raises(ConfigError, match="1 or more"):
        SemanticCongruityLoss(*sizes)


def test_a_form_that_does_not_exist_is_refused():
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(
            ConfigError, match="no congruity form 'relative': choose from ratio, share"
        ):
            SemanticCongruityLoss(3, 5, form="relative")
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("code", ["C"], indirect=True)
def test_needs_neither_transformers_nor_scikit_learn():
    code = "import sys, mvcn.losses; print({'transformers', 'sklearn'} & sys.modules.keys())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_one_process_gathers_its_own_batch():
    features, labels = draw(4)
    for one, other in zip(gather_batch(features, labels), (features, labels), strict=True):
        assert torch.equal(one, other)


SHARES = [(4, 4), (5, 3)]
STEPS = 6


def _process(rank, folder):
    """Train a linear layer on this rank's share of each batch, and keep what came of it."""
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/meeting", world_size=2, rank=rank
    )
    for number, sizes in enumerate(SHARES):
        layer = _layer()
        model = nn.parallel.DistributedDataParallel(layer)
        constraint = SemanticCongruityLoss(CLASSES, DIM, queue_size=7)
        start = sum(sizes[:rank])
        losses = _train(model, constraint, STEPS, slice(start, start + sizes[rank]))
        kept = {"layer": layer.state_dict(), "queue": constraint.state_dict(), "losses": losses}
        torch.save(kept, folder / f"{rank}-{number}.pt")
    # Whoever lets go of the group last waits for its threads. The reducer of a model would hold the
    # interpreter's lock meanwhile, which these threads may need, and then wait forever.
    del model
    torch.distributed.destroy_process_group()


def _layer():
    layer = nn.Linear(DIM, DIM)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(DIM))
        layer.bias.zero_()
    return layer


def _train(model, constraint, steps, share):
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
    for step in range(steps):
        features, labels = draw(8, seed=step)
        loss = constraint(model(features[share]), labels[share])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.fixture(scope="module")
def shared_trainings(tmp_path_factory):
    """What came of two processes, by how they shared each batch."""
    folder = tmp_path_factory.mktemp("shared")
    run_ranks(_process, folder)
    return {
        sizes: [torch.load(folder / f"{rank}-{number}.pt", weights_only=True) for rank in range(2)]
        for number, sizes in enumerate(SHARES)
    }


@pytest.mark.slow
@pytest.mark.parametrize("sizes", SHARES)
def test_two_processes_remember_what_one_does(sizes, shared_trainings):
    ranks = shared_trainings[sizes]
    for name, value in ranks[0]["queue"].items():
        assert torch.equal(value, ranks[1]["queue"][name]), name
    layer, constraint = _layer(), SemanticCongruityLoss(CLASSES, DIM, queue_size=7)
    losses = _train(layer, constraint, STEPS, slice(0, 8))
    assert losses[-1] > 0
    means = [sum(pair) / 2 for pair in zip(*(rank["losses"] for rank in ranks), strict=True)]
    assert means == pytest.approx(losses, rel=1e-5)
    for kept, name in ((layer, "layer"), (constraint, "queue")):
        for key, value in kept.state_dict().items():
            torch.testing.assert_close(ranks[0][name][key], value, rtol=1e-5, atol=1e-5)


def test_is_one_of_the_public_names():
    import mvcn

    assert mvcn.SemanticCongruityLoss is SemanticCongruityLoss
    assert mvcn.CentroidQueue is CentroidQueue


def test_a_class_takes_part_once_the_queue_has_enough_of_its_samples():
    constraint = SemanticCongruityLoss(CLASSES, DIM, queue_size=3600, min_samples_per_class=4)
    for seed in range(2):  # 2 batches of 6 leave 4 samples of each of the 3 classes
        assert constraint(*draw(6, seed)).item() == 0
    remembered = [torch.cat(parts) for parts in zip(draw(6, 0), draw(6, 1), strict=True)]
    expected = congruity_loss(*draw(6, 2), *batch_centroids(*remembered, CLASSES), "ratio")
    assert constraint(*draw(6, seed=2)).item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_rare_class_is_left_out_and_does_not_hold_up_the_others():
    constraint = SemanticCongruityLoss(CLASSES, DIM, min_samples_per_class=10)
    features, labels = draw(60)
    labels[:57], labels[57:] = labels[:57] % 2, 2
    constraint(features, labels)
    rows, classes = draw(6, seed=1)
    centroids, counts = batch_centroids(features, labels, CLASSES)
    counts[2] = 0
    expected = congruity_loss(rows, classes, centroids, counts, "ratio")
    assert constraint.eval()(rows, classes).item() == pytest.approx(expected.item(), rel=1e-6)


def test_six_hundred_samples_are_enough_for_the_usual_queue():
    """An epoch of the guide's snippet: once, the loss was 0 for six epochs."""
    constraint, (features, labels) = SemanticCongruityLoss(CLASSES, DIM), draw(600)
    losses = [
        constraint(features[start : start + 16], labels[start : start + 16]).item()
        for start in range(0, 600, 16)
    ]
    # a batch of 16 has 5 of each class and one more, so the second leaves 10 of each
    assert losses[:2] == [0, 0]
    assert min(losses[2:]) > 0


@pytest.mark.parametrize("queue_size", [3600, 24])
def test_warns_once_if_it_stays_zero(queue_size):
    constraint = SemanticCongruityLoss(CLASSES, DIM, queue_size)
    one_class = torch.ones(12, dtype=torch.int64)
    batches = 100 if queue_size == 3600 else 3  # the queue is full before the third
    for number in range(1, 2 * batches):
        features, _ = draw(12, seed=number)
        if number == batches:
            with pytest.warns(
                UserWarning, match=f"0 in all {batches} batches so far, because only 1 of 3 cl"
            ):
                constraint(features, one_class)
        else:
            constraint(features, one_class)


def test_shows_its_settings():
    shown = repr(SemanticCongruityLoss(CLASSES, DIM, 7, "share", min_samples_per_class=2))
    assert "form='share', min_samples_per_class=2" in shown
    assert "CentroidQueue(size=7, dim=5, num_classes=3)" in shown


def test_help_names_each_argument():
    text = pydoc.render_doc(SemanticCongruityLoss, renderer=pydoc.plaintext)
    for name in inspect.signature(SemanticCongruityLoss).parameters:
        assert re.search(rf"^ \|\s+{name}: \w", text, re.MULTILINE), name


def test_no_sample_of_a_class_is_too_few():
    with pytest.raises(ConfigError, match="min_samples_per_class is 0, but must be at least 1"):
        SemanticCongruityLoss(CLASSES, DIM, min_samples_per_class=0)
