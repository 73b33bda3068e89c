"""What a classifier with any of `MODELS`, or of a plug-in, must keep to.

A new one needs no tests of its own.
"""

import copy
import json
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoProcessor,
    Trainer,
    TrainingArguments,
)

from mvcn.config import read_recipe
from mvcn.errors import ConfigError
from mvcn.inference.classifier import Classifier
from mvcn.inputs.processor import MvcnProcessor, build_processor
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model
from mvcn.models.classification import MvcnForClassification
from mvcn.models.configuration import MvcnConfig
from mvcn.models.registry import MODELS, system
from mvcn.plugins import VARIABLE
from mvcn.runtime.graphs import MODEL_FILE, GraphModel
from mvcn.training.export import write_graphs
from mvcn.training.run_folder import Run

CLASSES = ("bad", "fair", "good")
RECIPES = sorted(
    path.name.removesuffix(".yaml")
    for path in (resources.files("mvcn") / "recipes").iterdir()
    if path.is_file()
)
EVERY_MODEL = {
    "usual": {},
    "trained image encoder": {"freeze_image_encoder": False, "freeze_text_embeddings": True},
    "frozen text layers": {"frozen_text_layers": 1},
    "frozen text encoder": {"frozen_text_layers": "all"},
}
WORDS_ALONE = {"vectors of words": {"text_layers": 0}}
SPECIAL = {
    "text-cnn": WORDS_ALONE,
    "bilstm": WORDS_ALONE | {"mean of states": {"options": {"attention": False}}},
    "co-mn-hop6": {"two hops": {"options": {"hops": 2}}},
    "mgnns": {"faithful": {"options": {"faithful": True}}},
    "mmsd": {"faithful": {"options": {"faithful": True}}},
    "clmlf": {
        "faithful": {"options": {"faithful": True}},
        "as published": {"options": {"view_activation": "gelu", "attention_dropout": 0.1}},
    },
    "mvcn": {
        "softmax, two units": {"attention": "softmax", "num_fusion_layers": 2},
        "equal fusion": {"fusion": "equal"},
        "unimodal-label head": {"unimodal_label_head": True},
        "unimodal-label head, equal fusion": {"unimodal_label_head": True, "fusion": "equal"},
    },
}
CASES = {
    f"{name}: {what}": {"network": name} | settings
    for name in MODELS
    for what, settings in (EVERY_MODEL | SPECIAL.get(name, {})).items()
}
CASES["mean-tokens: of a plug-in"] = {"network": "mean-tokens"}
ENOUGH_WEIGHTS = 200
"""Of a layer, for its deviation to be near that of what they are drawn from."""
GRAPHS = ("bert", "resnet", "vit", "clmlf", "logreg", "late-fusion", "mean-tokens")
"""Networks that become ONNX graphs, besides MVCN, whose runs have some in other tests; the others
have recurrent layers, or attributes of images."""
NO_GRAPHS = ("text-cnn", "bilstm", "concat3")
"""One for each reason."""
ONE_TEXT_LAYER = {
    f"{name}: one text layer": {"network": name, "text_layers": 1} for name in GRAPHS + NO_GRAPHS
}
"""For graphs, which take a second for each layer."""
FREE_OF_LOSS = ("pair_logits", "views", "penalty")
"""Outputs that an objective may leave out of the loss."""


@pytest.fixture(autouse=True, scope="module")
def _use_plugin():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, "tests.example_plugin")
        yield


@pytest.fixture(scope="module", params=CASES)
def settings(request):
    return dict((CASES | ONE_TEXT_LAYER)[request.param])


once_a_network = pytest.mark.parametrize(
    "settings",
    [case for case in CASES if not case.endswith(tuple(EVERY_MODEL)[1:])],
    indirect=True,
    scope="module",
)
"""For laws that take long, and that neither frozen nor trained encoders can break."""


@pytest.fixture
def name(settings):
    return settings["network"]


@pytest.fixture(scope="module")
def built(settings, tiny_settings):
    """A model that has counted what it sees together, if it does so in training."""
    model = build(settings, tiny_settings)
    without_grad(model.train(), four_posts())
    return model.eval()


def build(settings, tiny_settings):
    torch.manual_seed(0)
    settings = dict(settings)
    head = settings.pop("unimodal_label_head", False)
    model = build_model(ModelConfig(**tiny_settings | settings), CLASSES, unimodal_label_head=head)
    if head:  # a rule that says something
        model.unimodal_label_head.merge_table.copy_(torch.eye(3).expand(3, 3, 3))
    return model.eval()


@pytest.fixture
def model(built):
    """A model that all tests share, with its weights; gradients and counts are forgotten."""
    counts = [buffer.clone() for buffer in built.buffers()]
    yield built
    built.eval().zero_grad()
    for buffer, before in zip(built.buffers(), counts, strict=True):
        buffer.copy_(before)


@pytest.fixture(scope="module")
def saved(built, tmp_path_factory):
    """Folder of the saved model."""
    folder = tmp_path_factory.mktemp("saved")
    built.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(saved):
    return MvcnForClassification.from_pretrained(saved)


@pytest.fixture
def batch():
    return four_posts()


@pytest.fixture(scope="module")
def output(built):
    """What the shared model makes of the batch."""
    return without_grad(built.eval(), four_posts())


def four_posts():
    """Posts of different lengths, the first without a text, the last without an image."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([2, 9, 6, 4])
    mask = (torch.arange(9) < lengths.unsqueeze(1)).long()
    return {
        "input_ids": torch.randint(5, 70, (4, 9), generator=generator) * mask,
        "attention_mask": mask,
        "pixel_values": torch.randn(4, 3, 32, 32, generator=generator),
        "text_mask": torch.tensor([False, True, True, True]),
        "image_mask": torch.tensor([True, True, True, False]),
    }


def rows(batch, *numbers):
    return {key: tensor[list(numbers)] for key, tensor in batch.items()}


@once_a_network
def test_linear_layers_start_with_weights_drawn_by_their_width(model):
    layers = [m for m in model.network.modules() if isinstance(m, torch.nn.Linear)]
    ratios = [
        float(layer.weight.detach().std()) * (3 * layer.in_features) ** 0.5
        for layer in layers
        if layer.weight.numel() >= ENOUGH_WEIGHTS
    ]
    assert all(0.8 < ratio < 1.2 for ratio in ratios)


def without_grad(model, batch):
    with torch.no_grad():
        return model(**batch)


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for key in one:
        assert torch.equal(one[key], other[key]), key


def assert_same_shapes(one, other):
    assert {key: tensor.shape for key, tensor in one.items()} == {
        key: tensor.shape for key, tensor in other.items()
    }


def test_logits_are_finite_and_one_for_each_class(model, output):
    assert output.logits.shape == (4, len(CLASSES))
    assert output.fused_feature.shape == (4, model.network.feature_size)
    assert output.logits.isfinite().all()
    assert output.fused_feature.isfinite().all()
    assert model.class_names == CLASSES


@pytest.mark.parametrize("name", ["clmlf", "mgnns", "mmsd"])
def test_options_that_a_saved_model_does_not_know_have_their_defaults(tiny_settings, name):
    model = build({"network": name}, tiny_settings)
    config = copy.deepcopy(model.config)
    config.options = {}
    assert_same_shapes(MvcnForClassification(config).state_dict(), model.state_dict())


def test_every_trainable_weight_gets_a_gradient(model, batch):
    output = model.train()(**batch)
    parts = [output.logits, *(getattr(output, part) for part in FREE_OF_LOSS)]
    sum(part.square().sum() for part in parts if part is not None).backward()
    trained = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
    # These biases shift all scores of a row alike: softmax and sparsemax ignore that.
    shifts = ("key.bias", "k_proj.bias", "reduction.score.3.bias")
    zero = [key for key, grad in trained.items() if grad is None or not grad.any()]
    assert [key for key in zero if not key.endswith(shifts)] == []
    assert all(grad.isfinite().all() for grad in trained.values() if grad is not None)


@pytest.mark.parametrize("missing", [("image_mask",), ("image_mask", "text_mask")])
def test_every_trainable_weight_takes_part_for_posts_without_an_image(model, batch, missing):
    """Processes that share a training would wait for each other's gradients in vain."""
    output = model.train()(**batch | {name: torch.zeros(4).bool() for name in missing})
    parts = [output.logits, *(getattr(output, part) for part in FREE_OF_LOSS)]
    sum(part.square().sum() for part in parts if part is not None).backward()
    trained = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
    assert [key for key, grad in trained.items() if grad is None or not grad.isfinite().all()] == []


@once_a_network
def test_a_new_model_is_trained_with_the_dropout_of_all_its_parts(name, tiny_settings):
    model = build_model(ModelConfig(**tiny_settings | {"network": name}), CLASSES).train()
    new = {part: one.training for part, one in model.named_modules()}
    model.eval().train()
    assert new == {part: one.training for part, one in model.named_modules()}
    assert any(new.values())


def test_frozen_parts_get_no_gradient_and_no_dropout(model, settings, batch):
    model.train()
    frozen = []
    if model.image_encoder is not None and model.image_encoder_is_frozen:
        frozen.append(model.image_encoder)
    if model.image_attributes is not None:
        frozen.append(model.image_attributes)
    if "text" in model.reads:
        if model.config.freeze_text_embeddings or model.config.frozen_text_layers:
            frozen.append(model.text_encoder.embeddings)
        is_frozen = model.config.text_encoder_is_frozen
        count = None if is_frozen else model.config.frozen_text_layers
        frozen += model.text_encoder.encoder.layer[:count]
        frozen += [model.text_encoder] if is_frozen else []
    assert not any(m.training for part in frozen for m in part.modules())
    model(**batch).logits.sum().backward()
    still = [p for part in frozen for p in part.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in still)
    moving = {id(p) for p in model.parameters()} - {id(p) for p in still}
    assert moving == {id(p) for p in model.parameters() if p.requires_grad}
    others = [m for m in model.modules() if not any(m is x for f in frozen for x in f.modules())]
    assert all(m.training for m in others)


def test_no_part_drops_by_torchs_own_dropout(model):
    assert not [name for name, part in model.named_modules() if type(part) is torch.nn.Dropout]


def test_evaluation_is_deterministic(model, batch, output):
    assert torch.equal(without_grad(model, batch).logits, output.logits)
    has_dropout = not (
        system(model.config.network).is_linear and model.config.text_encoder_is_frozen
    )
    trained = without_grad(model.train(), batch)
    assert torch.equal(trained.logits, output.logits) != has_dropout


def test_logits_do_not_depend_on_batch_mates(model, batch, output):
    together = output.logits
    alone = torch.cat([without_grad(model, rows(batch, i)).logits for i in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    turned = without_grad(model, rows(batch, 3, 1, 0, 2)).logits
    torch.testing.assert_close(together[[3, 1, 0, 2]], turned, atol=1e-5, rtol=0)


def test_logits_do_not_depend_on_padding(model, batch, output):
    padded = dict(batch)
    padded["attention_mask"] = torch.nn.functional.pad(batch["attention_mask"], (0, 7))
    for filler in (0, 33):
        padded["input_ids"] = torch.nn.functional.pad(batch["input_ids"], (0, 7), value=filler)
        torch.testing.assert_close(
            without_grad(model, padded).logits, output.logits, atol=1e-5, rtol=0
        )


def test_what_is_read_makes_a_difference_and_nothing_else_does(model, batch, output):
    for kind, has_it, other in (
        ("text", [1, 2, 3], {"input_ids": batch["input_ids"].roll(1, 1).clamp(min=5)}),
        ("image", [0, 1, 2], {"pixel_values": batch["pixel_values"].roll(1, 0)}),
    ):
        changes = (without_grad(model, batch | other).logits != output.logits).any(1)
        is_read = kind in model.reads or (kind == "image" and model.image_encoder is not None)
        expected = [is_read and post in has_it for post in range(4)]
        assert changes.tolist() == expected


def test_words_for_images_make_a_difference_to_those_who_read_them(model, batch, output):
    ids = torch.randint(5, 70, (4, 3, 2), generator=torch.Generator().manual_seed(4))
    ids[2] = -1  # the third post has none: they are found in its image
    after = without_grad(model, batch | {"attribute_ids": ids}).logits
    changes = ((after - output.logits).abs() > 1e-6).any(1)  # more than an LSTM rounds
    reads_words = bool({"attributes", "pairs"} & set(model.reads))
    assert changes.tolist() == [reads_words, reads_words, False, reads_words]


def test_a_model_has_no_encoder_that_it_does_not_read(model):
    assert (model.text_encoder is not None) == ("text" in model.reads)
    assert (model.image_encoder is None) == (model.reads == ("text",))
    assert model.text_encoder is not None or model.image_encoder is not None


def test_the_pixels_of_a_post_without_image_are_ignored_exactly(model, batch, output):
    pixels = batch["pixel_values"].clone()
    for factor in (1000, float("inf"), float("nan")):
        pixels[3] = factor * torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(2))
        after = model(**batch | {"pixel_values": pixels})
        assert torch.equal(after.logits, output.logits)
        assert torch.equal(after.fused_feature, output.fused_feature)
        after.logits.sum().backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("shown", [[True, True, True, False], [False] * 4])
def test_no_time_is_spent_on_images_that_are_not_there(model, batch, monkeypatch, shown):
    if model.image_encoder is None:
        pytest.skip("reads no images")
    encode, encoded = model.encode_images, []
    monkeypatch.setattr(
        model, "encode_images", lambda pixels: encoded.append(len(pixels)) or encode(pixels)
    )
    without_grad(model, batch | {"image_mask": torch.tensor(shown)})
    assert encoded == [max(sum(shown), 1)]  # one says how many tokens there are


def test_the_words_of_a_post_without_text_are_ignored_exactly(model, batch, output):
    ids = batch["input_ids"].clone()
    ids[0] = ids[0].roll(1) + 7
    after = without_grad(model, batch | {"input_ids": ids})
    assert torch.equal(after.logits, output.logits)
    assert torch.equal(after.fused_feature, output.fused_feature)


def test_a_post_without_text_is_told_from_one_with_the_same_word_pieces(model, batch, output):
    if "text" not in model.reads:
        pytest.skip("reads no text")
    untold = without_grad(model, batch | {"text_mask": torch.ones(4, dtype=torch.bool)}).logits[0]
    assert not torch.allclose(output.logits[0], untold)


def test_without_masks_each_post_has_a_text_and_an_image(model, batch):
    everywhere = torch.ones(4, dtype=torch.bool)
    masked = without_grad(model, batch | {"text_mask": everywhere, "image_mask": everywhere})
    del batch["text_mask"], batch["image_mask"]
    assert torch.equal(without_grad(model, batch).logits, masked.logits)


def test_modality_dropout_hides_one_modality_of_a_post_that_has_both(model, batch, monkeypatch):
    """Many copies of the batch at once, so that shares are known to a percent or two."""
    monkeypatch.setattr(model.config, "modality_dropout", 0.6)
    many = {key: tensor.repeat(1000, *[1] * (tensor.ndim - 1)) for key, tensor in batch.items()}
    masks = many["text_mask"], many["image_mask"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert model._present_modalities(*masks, many["input_ids"]) == masks  # never in evaluation
        text, image = model.train()._present_modalities(*masks, many["input_ids"])
    has_both = masks[0] & masks[1]
    assert torch.equal(text[~has_both], masks[0][~has_both])
    assert torch.equal(image[~has_both], masks[1][~has_both])
    assert (text | image).all()
    # 2,000 draws: three standard deviations of a share of 0.3 are 0.03
    assert text[has_both].double().mean() == pytest.approx(0.7, abs=0.03)
    assert image[has_both].double().mean() == pytest.approx(0.7, abs=0.03)


def test_neither_pixels_nor_features_is_an_error_of_the_caller(model, batch):
    del batch["pixel_values"]
    if model.image_encoder is not None:
        with pytest.raises(ValueError, match="pixel_values or image_features"):
            model(**batch)
    else:
        assert without_grad(model, batch).logits.isfinite().all()


@once_a_network
def test_each_loader_loads_exactly_what_was_saved(model, batch, output, saved):
    for loader in (MvcnForClassification, AutoModelForSequenceClassification):
        loaded, info = loader.from_pretrained(saved, output_loading_info=True)
        assert not any(info.values())
        assert_same(loaded, model)
        assert torch.equal(without_grad(loaded, batch).logits, output.logits)


def test_saving_and_loading_is_exact(model, batch, output, loaded):
    """Loading builds on the meta device: a buffer that nobody sets holds random memory."""
    assert_same(loaded, model)
    for kind in ("named_buffers", "named_parameters"):  # also those that are not in the file
        assert_same_weights(*(dict(getattr(m, kind)()) for m in (model, loaded)))
    found = without_grad(loaded, batch)
    assert torch.equal(found.logits, output.logits)
    assert torch.equal(found.fused_feature, output.fused_feature)


PRECISIONS = {torch.bfloat16: 2e-2, torch.float16: 1e-2, torch.float64: 1e-5}
"""And by how much probabilities may differ from those in single precision."""


@once_a_network
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_other_precisions_give_nearly_the_same_and_learn(model, batch, output, saved, dtype):
    other = MvcnForClassification.from_pretrained(saved, dtype=dtype)
    assert {weight.dtype for weight in other.parameters()} == {dtype}
    expected = output.logits.softmax(-1)
    for given in (batch, with_features(model, batch)):
        found = without_grad(other, given).logits.float().softmax(-1)
        torch.testing.assert_close(found, expected, atol=PRECISIONS[dtype], rtol=0)
    other.train()(**batch).logits.sum().backward()
    gradients = [weight.grad for weight in other.parameters() if weight.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


@once_a_network
def test_autocast_gives_nearly_the_same(model, batch, output):
    expected = output.logits.softmax(-1)
    for given in (batch, with_features(model, batch)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = without_grad(model, given).logits
        torch.testing.assert_close(found.float().softmax(-1), expected, atol=2e-2, rtol=0)


def with_features(model, batch):
    """The same posts with features in place of pixels, where the model takes them."""
    if model.image_encoder is None or not model.image_encoder_is_frozen:
        return batch
    features = model.encode_images(batch["pixel_values"])
    return {**{k: v for k, v in batch.items() if k != "pixel_values"}, "image_features": features}


def assert_same(loaded, model):
    assert type(loaded) is MvcnForClassification
    assert not loaded.training
    assert_same_weights(loaded.state_dict(), model.state_dict())
    assert [p.requires_grad for p in loaded.parameters()] == [
        p.requires_grad for p in model.parameters()
    ]


def test_configuration_is_loaded_with_its_encoders(name, model, saved):
    config = AutoConfig.from_pretrained(saved)
    assert type(config) is MvcnConfig
    assert config.id2label == dict(enumerate(CLASSES))
    assert config.text_config.to_dict() == model.config.text_config.to_dict()
    assert config.image_config.to_dict() == model.config.image_config.to_dict()
    assert json.loads((saved / "config.json").read_text())["network"] == name


def test_encoders_keep_their_attention_kernels(model, loaded):
    for one in (model, loaded):
        for encoder in filter(None, (one.text_encoder, one.image_encoder)):
            assert encoder.config._attn_implementation == "sdpa"


def test_no_queue_and_no_loss_is_in_the_file(saved):
    names = set(load_file(saved / "model.safetensors"))
    assert not any("queue" in key or "objective" in key for key in names)


@once_a_network
def test_a_folder_of_model_and_processor_is_all_that_is_needed(
    model, tiny_settings, batch, output, tmp_path, monkeypatch
):
    config = ModelConfig(**tiny_settings)
    model.save_pretrained(tmp_path)
    build_processor(config).save_pretrained(tmp_path)
    monkeypatch.setattr("mvcn.encoders.loading.find_spec", None)  # no encoder package is asked
    run = Run(tmp_path)
    loaded, processor = run.model, run.processor
    assert torch.equal(without_grad(loaded, batch).logits, output.logits)
    assert isinstance(AutoProcessor.from_pretrained(tmp_path), MvcnProcessor)
    texts = ["", "two words"]
    assert processor.tokenize(texts) == build_processor(config).tokenize(texts)


def of_networks(names):
    cases = [f"{name}: one text layer" for name in names]
    return pytest.mark.parametrize("settings", cases, indirect=True, scope="module")


@of_networks(GRAPHS)
def test_its_graphs_give_the_same_probabilities(
    model, saved, tiny_settings, generated_posts, tmp_path
):
    processor = build_processor(ModelConfig(**tiny_settings))
    write_graphs(model, processor, tmp_path, "")
    graphs = GraphModel(saved, processor, graphs=tmp_path)
    first, second, third, *more = generated_posts[:6]
    posts = [first, replace(second, text=""), replace(third, image=None), *more]
    found, expected = (
        np.array(
            [[*p.probabilities.values()] for p in classifier.predict(posts) if p.probabilities]
        )
        for classifier in (Classifier(graphs, processor), Classifier(model, processor))
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@of_networks(NO_GRAPHS)
def test_what_cannot_become_a_graph_says_so(name, model, tiny_settings, tmp_path):
    processor = build_processor(ModelConfig(**tiny_settings))
    with pytest.raises(ConfigError, match=f"'{name}' cannot become one ONNX graph"):
        write_graphs(model, processor, tmp_path, "")
    assert not (tmp_path / MODEL_FILE).exists()


@once_a_network
def test_the_trainer_divides_the_loss_itself(model, tmp_path):
    assert model.accepts_loss_kwargs is False
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to="none")
    assert not Trainer(model, arguments).model_accepts_loss_kwargs


@once_a_network
def test_the_trainer_predicts_one_array(model, batch, output, tmp_path):
    arguments = TrainingArguments(
        output_dir=str(tmp_path), report_to="none", disable_tqdm=True, dataloader_pin_memory=False
    )
    posts = [rows(batch, i) for i in range(4)]
    posts = [{key: tensor[0] for key, tensor in post.items()} for post in posts]
    predicted = Trainer(model, arguments).predict(posts).predictions
    torch.testing.assert_close(torch.from_numpy(predicted), output.logits, atol=1e-6, rtol=0)


@once_a_network
def test_eight_posts_can_be_learned_by_heart(model):
    generator = torch.Generator().manual_seed(3)
    posts = {
        "input_ids": torch.randint(5, 70, (8, 6), generator=generator),
        "attention_mask": torch.ones(8, 6, dtype=torch.long),
        "pixel_values": torch.randn(8, 3, 32, 32, generator=generator),
    }
    labels = torch.arange(8) % 3
    torch.manual_seed(0)
    model = copy.deepcopy(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=3e-3, fused=True)
    for step in range(200):
        loss = torch.nn.functional.cross_entropy(model.train()(**posts).fused_logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 9:  # without dropout: a loss that is low by luck is no sign
            logits = without_grad(model.eval(), posts).fused_logits
            if torch.nn.functional.cross_entropy(logits, labels) < 0.1:
                break
    assert torch.equal(logits.argmax(1), labels)


def test_each_model_has_a_recipe():
    assert set(MODELS) <= set(RECIPES)


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_recipe_builds_with_tiny_encoders(recipe, tiny_settings, batch):
    config = read_recipe(recipe)
    encoders = {key: tiny_settings[key] for key in ("text_encoder", "image_encoder")}
    given = config.model.frozen_text_layers
    layers = {"frozen_text_layers": given if given == "all" else min(given, 2)}
    config.update({"model": encoders | layers | {"max_tokens": 64}})
    head = config.objective.unimodal_label_weight > 0
    model = build_model(config.model, CLASSES, unimodal_label_head=head).eval()
    assert without_grad(model, batch).logits.isfinite().all()
    assert model.config.hidden_size == config.model.hidden_size
    assert model.config.network == (recipe if recipe in MODELS else "mvcn")
    assert build_processor(config.model).max_tokens == 64


def test_the_verdict_is_the_geometric_mean_of_two_opinions(tiny_settings, batch):
    torch.manual_seed(0)
    model = build_model(ModelConfig(**tiny_settings), CLASSES, unimodal_label_head=True).eval()
    for label in range(3):  # the image decides
        model.unimodal_label_head.merge_table[:, label, label] = 1 / 9
    output = without_grad(model, batch)
    by_rule = output.pair_logits.flatten(1).softmax(-1).view(4, 3, 3).sum(1)
    expected = (output.fused_logits.softmax(-1) * by_rule).sqrt()
    torch.testing.assert_close(
        output.logits.softmax(-1), expected / expected.sum(-1, keepdim=True), atol=1e-5, rtol=0
    )
