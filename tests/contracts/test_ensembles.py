"""What an ensemble of any of `MODELS` must keep to: trained, saved, asked, explained, exported."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mvcn.explain.post import explain
from mvcn.explain.saliency import methods_for
from mvcn.inference.classifier import Classifier
from mvcn.inputs.batches import PostEncoder
from mvcn.inputs.processor import build_processor
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model, join_members
from mvcn.models.registry import MODELS
from mvcn.runtime.graphs import GraphModel
from mvcn.training.export import write_graphs
from mvcn.training.members import assign_folds
from mvcn.training.stacking import fit_linear_models, stack_linear_models

CLASSES = ("negative", "neutral", "positive")
MEMBERS = 2
STACKED = "late-fusion with linear models"


@pytest.fixture(scope="module", params=[*MODELS, STACKED])
def saved(request, tiny_settings, generated_posts, tmp_path_factory):
    """A folder with an ensemble whose members took a step each, on different posts."""
    is_stacked = request.param == STACKED
    frozen = {"frozen_text_layers": "all" if is_stacked else 1, "stack_linear": is_stacked}
    name = request.param.split()[0]
    config = ModelConfig(**tiny_settings, network=name, **frozen)
    processor, folder = build_processor(config), tmp_path_factory.mktemp(name)
    members = []
    for seed in range(MEMBERS):
        torch.manual_seed(seed)
        member = build_model(config, CLASSES)
        encoder = PostEncoder.for_prediction(member.config, processor)
        encoded = encoder.encode(generated_posts[8 * seed :][:8], "blank", CLASSES)
        learn(member, encoded)
        members.append(member)
    weights = [member.trained_weights() for member in members]
    linear = stack(members[0], encoder.encode(generated_posts, "blank", CLASSES), is_stacked)
    join_members(members[0], weights, linear).save_pretrained(folder)
    processor.save_pretrained(folder)
    return SimpleNamespace(name=request.param, folder=folder, processor=processor)


def stack(model, encoded, is_stacked):
    if not is_stacked:
        return None
    logits = np.eye(3)[encoded.labels] + np.random.default_rng(0).normal(size=(len(encoded), 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mvcn.training.stacking.STANDARD_ERRORS", -np.inf)  # posts are few
        models = fit_linear_models(model, encoded, assign_folds(encoded, 3, 0))
        linear, _ = stack_linear_models(models, encoded.labels, logits)
    return linear


def learn(model, encoded):
    """Take a step."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    output = model.train()(**encoded.inputs(range(len(encoded))))
    F.cross_entropy(output.logits, torch.from_numpy(encoded.labels)).backward()
    optimizer.step()


@pytest.fixture
def classifier(saved):
    return Classifier.from_pretrained(saved.folder)


def rows(predictions):
    return np.array([[*one.probabilities.values(), one.disagreement] for one in predictions])


def test_a_prediction_says_how_much_the_members_disagree(classifier, generated_posts):
    found = rows(classifier.predict(generated_posts[:6]))
    np.testing.assert_allclose(found[:, :-1].sum(1), 1)
    assert (found[:, -1] > 0).all()
    assert (found[:, -1] <= 0.5).all()


def test_posts_are_explained(classifier, generated_posts):
    model, processor = classifier.model, classifier.processor
    posts = PostEncoder.for_prediction(model.config, processor).encode(generated_posts[:1])
    (predicted,) = rows(classifier.predict(generated_posts[:1]))
    for method in methods_for(model):
        (found,) = explain(model, processor, posts, method)
        shares = list(found.probabilities.values())
        np.testing.assert_allclose(shares, predicted[:-1], atol=1e-5)
        if found.saliency is not None:
            assert found.saliency.isfinite().all()
            assert found.saliency.any()
        assert bool(found.attention) == (
            "attention" in methods_for(model) and found.saliency is not None
        )


@pytest.mark.parametrize("saved", [STACKED], indirect=True)
def test_the_graph_returns_the_same(saved, classifier, generated_posts, tmp_path):
    write_graphs(classifier.model, saved.processor, tmp_path, "")
    graphs = GraphModel(saved.folder, saved.processor, graphs=tmp_path)
    exported = Classifier(graphs, saved.processor)
    posts = generated_posts[:5]
    expected = rows(classifier.predict(posts))
    np.testing.assert_allclose(rows(exported.predict(posts)), expected, rtol=0, atol=1e-5)
