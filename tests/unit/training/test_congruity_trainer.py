"""The constraint for any Hugging Face classifier: what it reads, what it stores, resuming."""

import pytest
import torch
import transformers
from transformers import TrainingArguments

from mvcn.errors import ConfigError, DataError
from mvcn.losses import batch_centroids, congruity_loss
from mvcn.training.congruity_trainer import SemanticCongruityTrainer, find_output_layer

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "num_labels": 3,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
POSTS = 24


def bert():
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=20, max_position_embeddings=8, **SIZES)
    return transformers.BertForSequenceClassification(config)


def vit():
    torch.manual_seed(0)
    config = transformers.ViTConfig(image_size=8, patch_size=4, **SIZES)
    return transformers.ViTForImageClassification(config)


def texts():
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(1, 20, (POSTS, 6), generator=generator)
    return [{"input_ids": row, "labels": i % 3} for i, row in enumerate(rows)]


def images():
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(POSTS, 3, 8, 8, generator=generator)
    return [{"pixel_values": row, "labels": i % 3} for i, row in enumerate(rows)]


KINDS = {"bert": (bert, texts), "vit": (vit, images)}
kinds = pytest.mark.parametrize("kind", KINDS)


def arguments(folder, **changes):
    settings = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "save_strategy": "epoch",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "use_cpu": True,
    }
    return TrainingArguments(str(folder), **{**settings, **changes})


def trainer(kind, folder, **changes):
    options = {k: changes.pop(k) for k in ("congruity_weight", "queue_size") if k in changes}
    build, rows = KINDS[kind]
    return SemanticCongruityTrainer(
        build(),
        arguments(folder, **changes),
        train_dataset=rows(),
        eval_dataset=rows(),
        **{"queue_size": 12, **options},
    )


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


@kinds
def test_constrains_what_the_output_layer_reads(kind, tmp_path):
    one = trainer(kind, tmp_path, congruity_weight=0.5)
    layer = find_output_layer(one.model)
    posts = one.data_collator(one.train_dataset[:12])
    seen = []
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    one.model.train()
    first, second = (one.compute_loss(one.model, dict(posts)).item() for _ in range(2))
    centroids = batch_centroids(seen[0], posts["labels"], 3)
    expected = congruity_loss(seen[1], posts["labels"], *centroids)
    assert second - first == pytest.approx(0.5 * expected.item(), rel=1e-4)


@kinds
def test_evaluation_gives_the_models_own_loss_and_remembers_nothing(kind, tmp_path):
    one = trainer(kind, tmp_path, congruity_weight=5.0)
    one.train()
    before = state(one.congruity)
    loss = one.evaluate()["eval_loss"]
    with torch.no_grad():
        own = one.model(**one.data_collator(one.eval_dataset)).loss.item()
    assert loss == pytest.approx(own, rel=1e-5)
    assert all(torch.equal(v, before[n]) for n, v in one.congruity.state_dict().items())


def test_each_micro_batch_is_remembered_once(tmp_path):
    one = trainer(
        "bert", tmp_path, gradient_accumulation_steps=3, num_train_epochs=1, queue_size=100
    )
    one.train()
    assert one.congruity.queue.num_filled() == POSTS


def test_accumulated_steps_are_those_of_the_whole_batch(tmp_path):
    """Until the queue is full nothing but the model's loss counts: the two must be one training."""
    sizes = [(12, 1), (4, 3)]
    models = []
    for batch, accumulation in sizes:
        one = trainer(
            "bert",
            tmp_path / str(batch),
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
            num_train_epochs=1,
            queue_size=1000,
        )
        one.train()
        models.append(one.model.state_dict())
    for name, value in models[0].items():
        torch.testing.assert_close(models[1][name], value, rtol=1e-3, atol=1e-4)


def test_a_resumed_training_ends_as_one_that_was_not_cut(tmp_path):
    whole = trainer("bert", tmp_path / "whole", num_train_epochs=3)
    whole.train()
    first = trainer("bert", tmp_path / "cut", num_train_epochs=3)
    first.add_callback(_StopAfter(1))
    first.train()
    second = trainer("bert", tmp_path / "cut", num_train_epochs=3)
    second.train(resume_from_checkpoint=True)
    for one, other in ((whole.model, second.model), (whole.congruity, second.congruity)):
        kept = other.state_dict()
        for name, value in one.state_dict().items():
            assert torch.equal(value, kept[name]), name


class _StopAfter(transformers.TrainerCallback):
    def __init__(self, epochs):
        self.epochs = epochs

    def on_epoch_end(self, args, state, control, **_):
        control.should_training_stop = state.epoch >= self.epochs


def test_the_constraint_is_logged(tmp_path):
    one = trainer("bert", tmp_path)
    one.train()
    logged = [log["congruity"] for log in one.state.log_history if "loss" in log]
    assert logged[:3] == [0, 0, 0]
    assert all(value > 0 for value in logged[3:])


def test_a_model_without_an_output_layer_is_refused_with_advice():
    model = transformers.BertModel(bert().config, add_pooling_layer=False)
    with pytest.raises(ConfigError, match="pass its last layer as output_layer"):
        find_output_layer(model)


def test_a_feature_for_each_token_is_reported(tmp_path):
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=20, n_positions=8, n_embd=16, n_layer=1, n_head=2, num_labels=3, pad_token_id=0
    )
    model = transformers.GPT2ForSequenceClassification(config)
    one = SemanticCongruityTrainer(model, arguments(tmp_path), train_dataset=texts())
    with pytest.raises(ConfigError, match=r"shape \(4, 6, 16\) for 4 samples"):
        one.train()


def test_posts_without_labels_are_reported(tmp_path):
    one = trainer("bert", tmp_path)
    one.train_dataset = [{"input_ids": row["input_ids"]} for row in texts()]
    with pytest.raises(ConfigError, match="the key 'labels'"):
        one.train()


def test_the_queue_is_never_longer_than_the_training_data(tmp_path):
    one = trainer("bert", tmp_path, queue_size=3600)
    one.train()
    assert one.congruity.queue.size == POSTS
    assert one.state.log_history[-2]["congruity"] > 0


def test_labels_that_are_not_one_class_a_sample_are_reported(tmp_path):
    rows = [{**row, "labels": [1.0, 0.0, 1.0]} for row in texts()]
    model = bert()
    model.config.problem_type = "multi_label_classification"
    one = SemanticCongruityTrainer(model, arguments(tmp_path), train_dataset=rows)
    with pytest.raises(DataError, match=r"one class per sample, .* not \(4, 3\)"):
        one.train()


def test_a_negative_weight_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="0 or more"):
        SemanticCongruityTrainer(bert(), arguments(tmp_path), congruity_weight=-0.1)
