"""What every setting of the objective must keep to."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from mvcn.config import ObjectiveConfig, RunConfig
from mvcn.errors import ConfigError, DataError
from mvcn.losses import Objective, Targets, congruity_loss

BATCH, DIM, CLASSES = 8, 6, 3
CLASS_NAMES = ("a", "b", "c")
CONTRASTS = {
    "label_contrast_weight": 0.2,
    "data_contrast_weight": 0.6,
    "contrast_temperature": 0.1,
}
SETTINGS = {
    "cross-entropy alone": {"congruity_weight": 0.0},
    "ratio": {"congruity_form": "ratio"},
    "share": {"congruity_form": "share"},
    "absolute": {"congruity_form": "absolute"},
    "batch centroids": {"centroids": "batch"},
    "calibration": {"calibration": 0.5},
    "calibration alone": {"calibration": 0.5, "congruity_weight": 0.0},
    "unimodal-label head": {"unimodal_label_weight": 0.3},
    "distillation": {"distillation_weight": 0.4},
    "contrast": CONTRASTS,
    "faithful contrast": {**CONTRASTS, "contrast_form": "faithful"},
    "one contrast": {"data_contrast_weight": 0.6},
    "penalty": {"penalty_weight": 0.3},
    "everything": {
        "calibration": 0.5,
        "unimodal_label_weight": 0.3,
        "congruity_weight": 0.7,
        "distillation_weight": 0.4,
        "penalty_weight": 0.3,
        **CONTRASTS,
    },
}
WEIGHTS = {
    "congruity": "congruity_weight",
    "unimodal_cross_entropy": "unimodal_label_weight",
    "label_contrast": "label_contrast_weight",
    "data_contrast": "data_contrast_weight",
    "penalty": "penalty_weight",
}
"""Name of a term -> the setting that is its weight, in the order of the terms."""


@dataclass
class Output:
    fused_logits: Tensor
    fused_feature: Tensor
    pair_logits: Tensor | None
    views: Tensor | None
    penalty: Tensor | None

    def require_grad(self):
        for tensor in vars(self).values():
            tensor.requires_grad_()
        return self

    def gradients(self):
        return {name: tensor.grad for name, tensor in vars(self).items()}


def draw(seed=0, batch=BATCH):
    """Return an output that a model might give, and targets, some of them absent."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((CLASSES,), (DIM,), (CLASSES, CLASSES))
    tensors = [torch.randn(batch, *shape, generator=generator) for shape in shapes]
    views = torch.randn(2, batch, DIM, generator=generator)
    output = Output(*tensors, views, torch.rand((), generator=generator))
    labels = torch.randint(CLASSES, (batch,), generator=generator)
    unimodal = torch.randint(-1, CLASSES, (2, batch), generator=generator)
    teacher = torch.randn(batch, CLASSES, generator=generator).softmax(-1)
    pairs = torch.randn(batch, CLASSES**2, generator=generator).softmax(-1)
    taught = (teacher, pairs.view(batch, CLASSES, CLASSES))
    return output.require_grad(), Targets(labels, unimodal[0], unimodal[1], *taught)


def objective_of(**settings):
    """Return a new objective by its settings."""
    return Objective(ObjectiveConfig(**{"queue_size": 20, **settings}), CLASS_NAMES, DIM)


def build(steps=3, **settings):
    """Return an objective in use: its queue holds some batches, and its constraint is on."""
    objective = objective_of(**settings)
    for step in range(steps):
        objective.after_step(*draw(seed=100 + step))
    objective.activate()
    return objective


def state(objective):
    return {name: tensor.clone() for name, tensor in objective.state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert (one[name] is None) == (other[name] is None), name
        assert one[name] is None or torch.equal(one[name], other[name]), name


settings = pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS.keys())


@settings
def test_parts_are_finite_scalars_and_not_negative(options):
    parts = build(**options)(*draw())
    for name, part in parts.items():
        assert part.shape == (), name
        assert part.dtype == torch.float32, name
        assert part.isfinite(), name
        assert part >= 0, name


@settings
def test_loss_is_the_weighted_sum_of_its_parts(options):
    objective = build(**options)
    parts = objective(*draw())
    chosen = vars(ObjectiveConfig(**options))
    weights = {name: chosen[setting] for name, setting in WEIGHTS.items()} | {"cross_entropy": 1.0}
    expected = sum(weights[name] * part.item() for name, part in parts.items() if name != "loss")
    assert parts["loss"].item() == pytest.approx(expected, rel=1e-6)


@settings
def test_part_names_follow_from_the_settings(options):
    chosen = vars(ObjectiveConfig(**options))
    names = [name for name, setting in WEIGHTS.items() if chosen[setting] > 0]
    assert list(build(**options)(*draw())) == ["loss", "cross_entropy", *names]


@settings
def test_gradients_are_finite(options):
    output, targets = draw()
    build(**options)(output, targets)["loss"].backward()
    assert all(g is None or g.isfinite().all() for g in output.gradients().values())


@settings
def test_forward_changes_no_state(options):
    objective = build(**options)
    before = state(objective)
    objective(*draw())
    assert_same(before, state(objective))


@settings
def test_evaluation_changes_no_state(options):
    objective = build(**options).eval()
    before = state(objective)
    objective(*draw())
    objective.after_step(*draw())
    assert_same(before, state(objective))


@settings
def test_a_restored_objective_continues_identically(options):
    original = build(**options)
    restored = objective_of(**options)
    restored.load_state_dict(state(original))
    for seed in range(5):
        output, targets = draw(seed)
        assert_same(original(output, targets), restored(output, targets))
        original.after_step(output, targets)
        restored.after_step(output, targets)
    assert_same(state(original), state(restored))


@settings
def test_works_with_an_empty_queue(options):
    parts = build(steps=0, **options)(*draw())
    assert all(part.isfinite() for part in parts.values())
    if "congruity" in parts and options.get("centroids") != "batch":
        assert parts["congruity"] == 0


@settings
def test_half_precision_is_computed_in_float32(options):
    objective, (output, targets) = build(**options), draw()
    half = Output(*(tensor.detach().bfloat16() for tensor in vars(output).values()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = objective(half, targets)
    full = Output(*(tensor.float() for tensor in vars(half).values()))
    assert_same(parts, objective(full, targets))


@settings
def test_takes_a_single_post(options):
    assert all(part.isfinite() for part in build(**options)(*draw(batch=1)).values())


@pytest.mark.parametrize(
    "zero",
    [
        {"congruity_weight": 0.0},
        {"congruity_weight": 0.0, "centroids": "batch"},
        {"congruity_weight": 0.0, "congruity_form": "absolute", "unimodal_label_weight": 0.0},
        {"congruity_weight": 0.0, "calibration": 0.0, "calibration_temperature": 9.0},
    ],
)
def test_zero_weights_have_zero_effect(zero):
    output, targets = draw()
    parts = build(**zero)(output, targets)
    parts["loss"].backward()
    plain, _ = draw()
    terms = torch.nn.functional.cross_entropy(plain.fused_logits, targets.labels, reduction="none")
    (expected := terms.mean()).backward()
    assert parts["loss"].item() == parts["cross_entropy"].item() == expected.item()
    assert_same(output.gradients(), plain.gradients())


def test_zero_weights_keep_no_queue():
    assert build(congruity_weight=0.0).queue is None
    assert build(centroids="batch").queue is None
    assert build(congruity_weight=0.0, calibration=0.1).queue is not None


def test_the_constraint_is_off_until_it_is_switched_on():
    objective, (output, targets) = objective_of(), draw()
    for step in range(3):
        objective.after_step(*draw(seed=100 + step))
    before = objective(output, targets)
    assert before["congruity"] == 0
    assert before["loss"] == before["cross_entropy"]
    objective.activate()
    after = objective(output, targets)
    expected = congruity_loss(output.fused_feature, targets.labels, *objective.queue.centroids())
    assert after["congruity"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert expected > 0


def test_after_step_remembers_each_post_once():
    objective = objective_of()
    output, targets = draw()
    objective.after_step(output, targets)
    assert objective.queue.num_filled() == BATCH
    assert torch.equal(objective.queue.features[:BATCH], output.fused_feature.detach())
    assert torch.equal(objective.queue.labels[:BATCH], targets.labels)


def test_the_congruity_weight_scales_the_gradient():
    gradients = []
    for weight in (0.5, 1.0):
        output, targets = draw()
        build(congruity_weight=weight)(output, targets)["loss"].backward()
        gradients.append(output.fused_feature.grad)
    torch.testing.assert_close(gradients[0] * 2, gradients[1], atol=0, rtol=1e-6)


def test_calibration_softens_the_targets_of_inconsistent_posts_alone():
    # One post, logits 0: p = 1/3 each, s = 1/3, e = 0.6 / 3 = 0.2, q = (0.9, 0.1, 0);
    # the gradient of cross-entropy in the logits is p - q.
    objective = objective_of(congruity_weight=0.0, calibration=0.6)
    output, _ = draw(batch=1)
    output.fused_logits = torch.zeros(1, CLASSES, requires_grad=True)
    objective(output, Targets(*torch.tensor([[0], [1], [0]])))["loss"].backward()
    expected = torch.tensor([[1 / 3 - 0.9, 1 / 3 - 0.1, 1 / 3]])
    torch.testing.assert_close(output.fused_logits.grad, expected, atol=1e-6, rtol=0)


def test_calibration_asks_distances_only_when_each_class_has_a_centroid():
    output, targets = draw()
    unlabelled = targets._replace(
        text_labels=torch.full((BATCH,), -1), image_labels=torch.full((BATCH,), -1)
    )
    hard = torch.nn.functional.cross_entropy(output.fused_logits, targets.labels)
    options = {"congruity_weight": 0.0, "calibration": 0.5}
    soft = build(**options, calibration_temperature=10.0)(output, unlabelled)["cross_entropy"]
    assert (soft - hard).abs() > 1e-4
    objective = objective_of(**options)
    objective.queue.enqueue(output.fused_feature, torch.zeros_like(targets.labels))
    objective.activate()
    without = objective(output, unlabelled)["cross_entropy"]
    torch.testing.assert_close(without, hard, atol=1e-6, rtol=0)


def test_the_unimodal_term_sums_over_what_is_not_annotated():
    output, targets = draw()
    parts = build(unimodal_label_weight=0.3)(output, targets)
    terms = []
    for pairs, text, image in zip(
        output.pair_logits, targets.text_labels, targets.image_labels, strict=True
    ):
        fitting = sum(
            pairs[a, b].exp()
            for a in range(CLASSES)
            for b in range(CLASSES)
            if text in (a, -1) and image in (b, -1)
        )
        terms.append(pairs.exp().sum().log() - fitting.log())
    assert {-1} < set(targets.text_labels.tolist())
    assert {-1} < set(targets.image_labels.tolist())
    torch.testing.assert_close(parts["unimodal_cross_entropy"], torch.stack(terms).mean())


def test_posts_without_unimodal_labels_do_not_train_the_head():
    output, targets = draw()
    nothing = torch.full((BATCH,), -1)
    absent = targets._replace(text_labels=nothing, image_labels=nothing)
    parts = build(unimodal_label_weight=0.3)(output, absent)
    parts["loss"].backward()
    assert parts["unimodal_cross_entropy"].abs() < 1e-6
    assert output.pair_logits.grad.abs().max() < 1e-6


def test_a_unimodal_label_weight_needs_such_a_head():
    output, targets = draw()
    output.pair_logits = None
    assert build()(output, targets)["loss"].isfinite()
    with pytest.raises(
        ConfigError,
        match="no head for unimodal labels",
    ):
        build(unimodal_label_weight=0.3)(output, targets)


def test_the_teacher_takes_over_its_share_of_the_targets():
    # The gradient of cross-entropy in the logits is p less the target, whatever the target.
    options = {"congruity_weight": 0.0, "unimodal_label_weight": 1.0, "distillation_weight": 0.3}
    output, targets = draw()
    targets = targets._replace(
        text_labels=targets.labels, image_labels=(targets.labels + 1) % CLASSES
    )
    build(**options)(output, targets)["loss"].backward()
    label = torch.nn.functional.one_hot(targets.labels, CLASSES)
    expected = output.fused_logits.softmax(-1) - (0.7 * label + 0.3 * targets.teacher)
    torch.testing.assert_close(output.fused_logits.grad, expected / BATCH)
    image = torch.nn.functional.one_hot(targets.image_labels, CLASSES)
    pair = (label.unsqueeze(2) * image.unsqueeze(1)).flatten(1)
    logits = output.pair_logits.flatten(1)
    expected = logits.softmax(-1) - (0.7 * pair + 0.3 * targets.teacher_pairs.flatten(1))
    torch.testing.assert_close(output.pair_logits.grad.flatten(1), expected / BATCH)


@pytest.mark.parametrize("calibration", [0.0, 0.5])
def test_without_a_teacher_distillation_changes_nothing(calibration):
    options = {"calibration": calibration, "unimodal_label_weight": 0.3}
    output, targets = draw()
    absent = targets._replace(teacher=None, teacher_pairs=None)
    assert_same(
        build(distillation_weight=0.4, **options)(output, absent), build(**options)(output, targets)
    )


@pytest.mark.parametrize("label", [-1, CLASSES])
def test_every_post_needs_a_label(label):
    output, targets = draw()
    targets.labels[3] = label
    with pytest.raises(DataError, match=f"Post 3 of the batch has label {label}"):
        build()(output, targets)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("congruity_weight", -0.1),
        ("unimodal_label_weight", -1.0),
        ("distillation_weight", 1.1),
        ("calibration", 1.5),
        ("calibration", -0.1),
        ("calibration_temperature", 0.0),
        ("queue_size", 0),
    ],
)
def test_refuses_values_out_of_range(option, value):
    with pytest.raises(ConfigError, match=rf"Setting 'objective\.{option}' is {value}"):
        RunConfig.from_mapping({"objective": {option: value}})


@pytest.mark.parametrize("calibration", [0.0, 0.5])
def test_class_weights_scale_the_gradient_of_a_class_posts(calibration):
    """Doubling a class's weight doubles the gradient of its posts and of no others."""
    gradients = []
    for weights in ("none", {"b": 2.0}):
        objective = build(calibration=calibration, congruity_weight=0.0, class_weights=weights)
        output, targets = draw()
        objective(output, targets)["cross_entropy"].backward()
        gradients.append(output.fused_logits.grad)
    factors = torch.where(targets.labels == 1, 2.0, 1.0).unsqueeze(1)
    torch.testing.assert_close(gradients[1], gradients[0] * factors)


@pytest.mark.parametrize(
    ("weights", "what"), [({"d": 2.0}, "has d, but the classes"), ({"b": 0.0}, "above 0")]
)
def test_class_weights_must_be_of_classes_and_above_zero(weights, what):
    with pytest.raises(ConfigError, match=what):
        build(class_weights=weights)
