"""Losses of plug-ins are terms of the objective, checked at each call."""

import pytest
import torch

from mvcn.config import ObjectiveConfig, RunConfig
from mvcn.errors import ConfigError, PluginError
from mvcn.losses.objective import Objective, Targets
from mvcn.losses.plugged_in import OWN_NAMES, plugged_in_loss
from mvcn.models.network import MvcnOutput
from mvcn.plugins import VARIABLE
from mvcn.training.checks import check_compatibility
from tests import example_plugin

CLASSES = ("bad", "fair", "good")


@pytest.fixture(autouse=True)
def example(monkeypatch):
    monkeypatch.setenv(VARIABLE, "tests.example_plugin")


@pytest.fixture
def outputs():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 2, 1, 1])
    none = torch.full((4,), -1)
    return MvcnOutput(logits, logits.clone(), logits), Targets(labels, none, none)


def objective(**losses):
    settings = ObjectiveConfig(congruity_weight=0.0, losses=losses)
    return Objective(settings, CLASSES, 3).train()


def test_a_loss_is_added_with_its_weight_and_reported_without(outputs):
    output, targets = outputs
    found = objective(**{"largest-logit": 0.25})(output, targets)
    expected = output.logits.amax(1).mean()
    torch.testing.assert_close(found["largest-logit"], expected, atol=1e-12, rtol=0)
    total = torch.nn.functional.cross_entropy(output.logits, targets.labels) + 0.25 * expected
    torch.testing.assert_close(found["loss"], total, atol=1e-12, rtol=0)


def test_posts_that_only_pad_a_batch_do_not_count(outputs):
    output, targets = outputs
    masked = targets._replace(valid_mask=torch.tensor([True, True, False, True]))
    found = objective(**{"largest-logit": 1.0})(output, masked)["largest-logit"]
    expected = output.logits.amax(1)[[0, 1, 3]].mean()
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_a_weight_of_zero_removes_it_even_where_nothing_has_its_name(outputs):
    found = objective(**{"largest-logit": 0.0, "nowhere": 0.0})(*outputs)
    assert set(found) == {"loss", "cross_entropy"}


@pytest.mark.parametrize(
    ("value", "kind"), [(torch.zeros(4), r"a tensor of shape \(4,\)"), (1.5, "1.5")]
)
def test_what_is_not_one_number_is_refused(outputs, monkeypatch, value, kind):
    monkeypatch.setitem(example_plugin.LOSSES, "wrong", lambda batch: value)
    with pytest.raises(ConfigError, match=f"'wrong' of module .* returned {kind}: have it"):
        objective(wrong=1.0)(*outputs)


def test_a_loss_that_is_no_function_is_refused(monkeypatch):
    monkeypatch.setitem(example_plugin.LOSSES, "wrong", 3)
    with pytest.raises(PluginError, match=r"'wrong' of module .* is 3, which cannot be called"):
        objective(wrong=1.0)


def test_a_name_that_is_nearly_right_is_corrected():
    with pytest.raises(ConfigError, match="did you mean 'largest-logit'"):
        objective(**{"largest-logits": 1.0})


def test_a_loss_that_is_not_there_is_named_before_any_training():
    config = RunConfig.from_mapping({"objective": {"losses": {"nowhere": 1}}})
    with pytest.raises(ConfigError, match="names 'nowhere', but no plug-in has a loss"):
        check_compatibility(config)


def test_linear_models_have_no_further_terms():
    values = {"network": "logreg", "frozen_text_layers": "all"}
    config = RunConfig.from_mapping(
        {"model": values, "objective": {"congruity_weight": 0, "losses": {"largest-logit": 1}}}
    )
    with pytest.raises(ConfigError, match=r"'objective\.losses' has no effect: set it to \{\}"):
        check_compatibility(config)


@pytest.mark.parametrize("weight", [-1, "much", float("nan")])
def test_a_weight_is_a_number_of_at_least_0(weight):
    with pytest.raises(ConfigError, match=r"'objective\.losses' is .* names, each with a number"):
        RunConfig.from_mapping({"objective": {"losses": {"largest-logit": weight}}})


def test_no_loss_can_have_the_name_of_a_term_or_of_another_column(monkeypatch):
    weights = [name for name in ObjectiveConfig.model_fields if name.endswith("_weight")]
    on = dict.fromkeys(weights, 0.5)
    terms = {term.name for term in Objective(ObjectiveConfig(**on), CLASSES, 3).terms}
    assert terms <= set(OWN_NAMES)
    for name in OWN_NAMES:
        monkeypatch.setitem(example_plugin.LOSSES, name, example_plugin.largest_logit)
        with pytest.raises(PluginError, match=f"Both mvcn and module .* have a loss '{name}'"):
            plugged_in_loss(name)
