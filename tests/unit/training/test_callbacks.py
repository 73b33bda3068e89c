"""The average of weights, by its definition, and when checkpoints are saved."""

import math

import pytest
import torch
from torch import nn
from transformers import TrainerControl, TrainerState

from mvcn.training import callbacks
from mvcn.training.callbacks import CheckpointsWithinEpochs, WeightAverage


@pytest.fixture
def model():
    torch.manual_seed(0)
    built = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    built[0].requires_grad_(False)
    return built


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def train(model, average, steps=5):
    """Take some steps; return the weight of the last layer before them and after each."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.1)
    seen = [model[1].weight.detach().clone()]
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        model(torch.ones(1, 3, dtype=torch.float64)).square().sum().backward()
        optimizer.step()
        average.on_step_end(None, TrainerState(global_step=step), None)
        seen.append(model[1].weight.detach().clone())
    return seen


def test_average_is_the_weighted_sum_of_all_steps(model):
    average = WeightAverage(model, decay=0.5)
    seen = train(model, average)
    # New weights take 4 / (t + 3), from the fifth step on 1 - decay: 1, 4/5, 2/3, 4/7, 1/2.
    taken = [1, 4 / 5, 2 / 3, 4 / 7, 1 / 2]
    shares = [share * math.prod(1 - s for s in taken[i + 1 :]) for i, share in enumerate(taken)]
    assert sum(shares) == pytest.approx(1)
    expected = sum(share * weight for share, weight in zip(shares, seen[1:], strict=True))
    with average.applied():
        torch.testing.assert_close(model[1].weight.detach(), expected, atol=1e-12, rtol=0)
    assert torch.equal(model[1].weight, seen[-1])


def test_training_continues_as_if_it_had_not_been_evaluated(model):
    average = WeightAverage(model, decay=0.9)
    train(model, average)
    before = weights_of(model)
    with average.applied():
        assert not torch.equal(model[1].weight, before["1.weight"])
    assert_same(weights_of(model), before)


def test_an_error_while_evaluating_changes_no_weights(model):
    average = WeightAverage(model, decay=0.9)
    train(model, average)
    before = weights_of(model)

    def evaluate():
        with average.applied():
            raise RuntimeError("while evaluating")

    with pytest.raises(RuntimeError, match="while evaluating"):
        evaluate()
    assert_same(weights_of(model), before)


def test_frozen_weights_are_not_copied(model):
    assert set(WeightAverage(model, 0.9).averages) == {"1.weight", "1.bias"}


def test_restoring_gives_back_both_kinds_of_weights(model):
    average = WeightAverage(model, decay=0.9)
    train(model, average)
    running = weights_of(model)
    with average.applied():
        averaged = weights_of(model)
        kept = {name: tensor.clone() for name, tensor in average.running_weights().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    other = WeightAverage(model, decay=0.9)
    model.load_state_dict(averaged)  # as a checkpoint holds them
    other.restore(kept)
    assert_same(weights_of(model), running)
    with other.applied():
        assert_same(weights_of(model), averaged)


class TestCheckpointsWithinEpochs:
    @pytest.fixture
    def saved_at(self, monkeypatch):
        """Return a function from steps and the first of them to those with a checkpoint."""
        monkeypatch.setattr(callbacks, "STEPS_BETWEEN_CHECKPOINTS", 3)

        def saved_at(steps, start=0):
            callback, saved = CheckpointsWithinEpochs(), []
            callback.on_train_begin(None, TrainerState(global_step=start), None)
            for step in range(start + 1, steps + 1):
                state = TrainerState(global_step=step, epoch=step / 10)
                control = TrainerControl(should_log=step % 2 == 0, should_save=step == 10)
                callback.on_step_end(None, state, control)
                if control.should_save:
                    saved.append(step)
                    callback.on_save(None, state, control)
            return saved

        return saved_at

    def test_are_at_steps_that_are_logged_and_not_at_the_end_of_an_epoch(self, saved_at):
        assert saved_at(20) == [4, 8, 10, 14, 18]

    def test_are_counted_from_the_one_that_is_resumed(self, saved_at):
        assert saved_at(20, start=4) == [8, 10, 14, 18]

    def test_a_short_epoch_has_none(self, saved_at, monkeypatch):
        monkeypatch.setattr(callbacks, "STEPS_BETWEEN_CHECKPOINTS", 1_000)
        assert saved_at(20) == [10]
