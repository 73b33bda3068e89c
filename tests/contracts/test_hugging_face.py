"""What Hugging Face's own tests ask of a model, for every network of `MODELS`."""

import copy
import shutil
from types import SimpleNamespace

import jaxtyping
import pytest
import torch
from accelerate.utils.operations import convert_to_fp32
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel, AutoModelForSequenceClassification, Trainer, TrainingArguments

from mvcn.inputs.processor import build_processor
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model
from mvcn.models.classification import MvcnForClassification
from mvcn.models.registry import MODELS

CLASSES = ("bad", "fair", "good")
MEMBERS = 2
CASES = {name: {"network": name} for name in MODELS} | {
    "frozen text layers": {"network": "mvcn", "frozen_text_layers": 1},
    "frozen text encoder": {"network": "mvcn", "frozen_text_layers": "all"},
    "lower text layers": {"network": "mvcn", "lower_text_layers": 1},
    "members": {"network": "mvcn", "members": MEMBERS, "freeze_image_encoder": False},
    "members that share layers": {"network": "mmsd", "members": MEMBERS, "frozen_text_layers": 1},
}
ENOUGH_WEIGHTS = 200
"""Of a layer, for its deviation to be near that of what they are drawn from."""
VOCABULARY = 141
"""Word pieces of the tiny text encoder."""


@pytest.fixture(scope="module", params=CASES)
def built(request, tiny_settings, tmp_path_factory):
    settings = dict(CASES[request.param])
    members = settings.pop("members", 1)
    torch.manual_seed(0)
    model = build_model(ModelConfig(**tiny_settings | settings), CLASSES)
    if members > 1:
        config, attributes = copy.deepcopy(model.config), model.image_attributes
        config.members = members
        model = MvcnForClassification(config)
        model.image_attributes = attributes
    folder = tmp_path_factory.mktemp("saved")
    model.eval().save_pretrained(folder)
    return SimpleNamespace(model=model, folder=folder)


@pytest.fixture
def model(built):
    """A model that all tests share: none changes its weights, and its gradients are forgotten."""
    yield built.model
    built.model.eval().zero_grad()


@pytest.fixture
def own(built):
    """A model that a test may change."""
    return copy.deepcopy(built.model)


@pytest.fixture
def folder(built):
    return built.folder


@pytest.fixture
def batch():
    """Three posts of different lengths, the last without an image."""
    generator = torch.Generator().manual_seed(1)
    mask = (torch.arange(7) < torch.tensor([[2], [7], [5]])).long()
    return {
        "input_ids": torch.randint(5, 70, (3, 7), generator=generator) * mask,
        "attention_mask": mask,
        "pixel_values": torch.randn(3, 3, 32, 32, generator=generator),
        "image_mask": torch.tensor([True, True, False]),
    }


def without_grad(model, batch, **options):
    with torch.no_grad():
        return model(**batch, **options)


def assert_close(found, expected, atol=1e-5):
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)


def require_text(model):
    if "text" not in model.reads:
        pytest.skip("reads no text")


def test_labels_give_the_mean_cross_entropy_and_change_nothing_else(model, batch):
    plain = without_grad(model, batch)
    labels = torch.tensor([2, 0, -100])
    output = without_grad(model, batch, labels=labels)
    expected = -plain.logits.log_softmax(-1)[[0, 1], [2, 0]].mean()
    assert_close(output.loss, expected)
    assert plain.loss is None
    assert [*output] == ["loss", *plain]
    assert all(torch.equal(output[name], plain[name]) for name in plain)


def test_a_tuple_has_the_same_parts_in_their_order(own, batch):
    labels = torch.tensor([2, 0, 1])
    expected = without_grad(own, batch, labels=labels)
    for found in (
        without_grad(own, batch, labels=labels, return_dict=False),
        [setattr(own.config, "return_dict", False), without_grad(own, batch, labels=labels)][1],
    ):
        assert isinstance(found, tuple)
        assert len(found) == len(expected)
        assert all(torch.equal(*pair) for pair in zip(found, expected.to_tuple(), strict=True))


@pytest.fixture
def no_shape_checks():
    """They would take a mapping for logits."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("no_shape_checks")
def test_an_output_can_be_made_of_a_mapping_of_its_parts(model, batch):
    """As accelerate does in mixed precision."""
    labels = torch.tensor([2, 0, 1])
    expected = without_grad(model, batch, labels=labels, output_hidden_states=True)
    for found in (type(expected)(dict(expected)), convert_to_fp32(expected)):
        assert type(found) is type(expected)
        assert [*found] == [*expected]
        assert found.logits is not None
        assert all(
            a is b for a, b in zip(found.to_tuple()[:3], expected.to_tuple()[:3], strict=True)
        )


def test_hidden_states_are_what_the_network_reads_of_its_encoders(model, batch):
    output = without_grad(model, batch, output_hidden_states=True)
    assert without_grad(model, batch).hidden_states is None
    tokens = model.encode(**batch)
    expected = [tokens.text] if "text" in model.reads else []
    expected += [tokens.image] if model.image_encoder is not None else []
    assert len(output.hidden_states) == len(expected)
    assert all(torch.equal(*pair) for pair in zip(output.hidden_states, expected, strict=True))
    if model.text_encoder is not None and len(model.text_encoders) == 1:
        ids = {name: batch[name] for name in ("input_ids", "attention_mask")}
        last = without_grad(model.text_encoder, ids).last_hidden_state
        atol = 2e-3 if model.config.text_encoder_is_frozen else 1e-6  # rounded to half precision
        assert_close(expected[0][..., -last.shape[-1] :], last, atol)


def test_the_configuration_can_request_states_and_attentions(own, batch):
    expected = without_grad(own, batch, output_hidden_states=True, output_attentions=True)
    own.config.output_hidden_states = own.config.output_attentions = True
    found = without_grad(own, batch)
    assert [*found] == [*expected]
    assert found.hidden_states is not None
    without = without_grad(own, batch, output_hidden_states=False, output_attentions=False)
    assert without.hidden_states is without.fusion_attentions is None


def test_attentions_are_distributions_over_image_tokens(model, batch):
    output = without_grad(model, batch, output_attentions=True)
    assert without_grad(model, batch).fusion_attentions is None
    if output.fusion_attentions is None:
        assert model.config.network != "mvcn"
        return
    heads = model.config.num_heads * model.config.members
    for unit in output.fusion_attentions:
        assert unit.shape == (3, heads, 7, model.encode(**batch).image.shape[1])
        assert_close(unit[:2].sum(-1), torch.ones(2, heads, 7))
        assert not unit[2].any()  # it has no image


def embedded(model, batch):
    """The same posts with word embeddings in place of word pieces."""
    given = {name: value for name, value in batch.items() if name != "input_ids"}
    vectors = model.get_input_embeddings()(batch["input_ids"]).detach()
    return given | {"inputs_embeds": vectors.requires_grad_()}


def test_word_embeddings_take_the_place_of_word_pieces(own, batch):
    require_text(own)
    own.set_input_embeddings(own.get_input_embeddings())  # members have one vocabulary
    given = embedded(own, batch)
    output = own(**given)
    assert_close(output.logits, without_grad(own, batch).logits)
    (gradient,) = torch.autograd.grad(output.logits.square().sum(), given["inputs_embeds"])
    assert gradient[0, :2].any()
    assert not gradient[0, 2:].any()
    with pytest.raises(ValueError, match="Pass either input_ids"):
        own(**batch, inputs_embeds=given["inputs_embeds"])


def test_without_text_there_are_no_word_embeddings(model):
    if "text" in model.reads:
        assert model.get_input_embeddings() is model.text_encoder.get_input_embeddings()
        return
    for method in (model.get_input_embeddings, model.resize_token_embeddings):
        with pytest.raises(
            NotImplementedError, match="has no word embeddings, because it reads no text"
        ):
            method()


def test_types_of_tokens_reach_the_text_encoder(model, batch):
    require_text(model)
    zeros = torch.zeros_like(batch["input_ids"])
    plain = without_grad(model, batch).logits
    assert_close(without_grad(model, batch, token_type_ids=zeros).logits, plain)
    assert not torch.allclose(without_grad(model, batch, token_type_ids=zeros + 1).logits, plain)


def test_without_a_mask_no_token_is_padding(model, batch):
    masked = without_grad(model, batch | {"attention_mask": torch.ones(3, 7).long()})
    del batch["attention_mask"]
    assert torch.equal(without_grad(model, batch).logits, masked.logits)


def test_posts_without_any_text_need_no_word_pieces(model, batch):
    images = {name: batch[name] for name in ("pixel_values", "image_mask")}
    mask = torch.zeros(3).bool()
    expected = without_grad(model, batch | {"text_mask": mask}).logits
    assert_close(without_grad(model, images | {"text_mask": mask}).logits, expected)
    if "text" in model.reads:
        with pytest.raises(ValueError, match="pass input_ids or inputs_embeds"):
            model(**images)
    else:
        assert torch.equal(without_grad(model, images).logits, expected)


def test_posts_without_any_image_need_no_pixels(model, batch):
    texts = {name: batch[name] for name in ("input_ids", "attention_mask")}
    mask = torch.zeros(3).bool()
    expected = without_grad(model, batch | {"image_mask": mask}).logits
    assert_close(without_grad(model, texts | {"image_mask": mask}).logits, expected)


@pytest.mark.parametrize("size", [VOCABULARY + 5, VOCABULARY - 10])
def test_the_vocabulary_can_be_resized_and_is_saved(own, batch, tmp_path, size):
    require_text(own)
    expected = without_grad(own, batch)
    trained = [weight.requires_grad for weight in own.parameters()]
    returned = own.resize_token_embeddings(size)
    assert returned is own.get_input_embeddings()
    assert {one.get_input_embeddings().num_embeddings for one in own.text_encoders} == {size}
    assert [weight.requires_grad for weight in own.parameters()] == trained
    assert torch.equal(without_grad(own, batch).logits, expected.logits)
    batch["input_ids"][0, 0] = size - 1
    after = without_grad(own, batch)
    own.save_pretrained(tmp_path)
    loaded, info = MvcnForClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert loaded.config.text_config.vocab_size == size
    assert torch.equal(without_grad(loaded, batch).logits, after.logits)


def test_each_member_keeps_its_own_words_when_they_are_resized(own):
    if len(own.text_encoders) < MEMBERS:
        pytest.skip("has no text encoder for each member")
    before = [one.get_input_embeddings().weight.clone() for one in own.text_encoders]
    own.resize_token_embeddings(VOCABULARY + 3)
    for encoder, earlier in zip(own.text_encoders, before, strict=True):
        assert torch.equal(encoder.get_input_embeddings().weight[:VOCABULARY], earlier)


def test_the_file_holds_each_weight_once(model, folder):
    """Under the names of published checkpoints, which some encoders' own names differ from."""
    weights = load_file(folder / "model.safetensors")
    own = model.state_dict()
    assert sorted(weight.shape for weight in weights.values()) == sorted(
        weight.shape for weight in own.values()
    )
    assert {name.partition(".")[0] for name in weights} == {name.partition(".")[0] for name in own}


def test_the_file_names_the_weights_as_a_trainer_loads_them(own, folder):
    found = own.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    assert found.unexpected_keys == []


def test_each_auto_class_loads_it(model, folder, batch):
    expected = without_grad(model, batch).logits
    for auto in (AutoModel, AutoModelForSequenceClassification):
        loaded = auto.from_pretrained(folder)
        assert type(loaded) is MvcnForClassification
        assert torch.equal(without_grad(loaded, batch).logits, expected)


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_the_kernel_of_attention_is_that_of_the_encoders(folder, model, batch, kernel):
    loaded = AutoModel.from_pretrained(folder, attn_implementation=kernel)
    for encoder in (*loaded.text_encoders, *loaded.image_encoders):
        assert encoder.config._attn_implementation == kernel
    found, expected = (without_grad(one, batch).logits for one in (loaded, model))
    assert_close(found, expected)


def test_another_number_of_classes_needs_the_users_consent(model, folder, batch):
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        MvcnForClassification.from_pretrained(folder, num_labels=5)
    other, info = MvcnForClassification.from_pretrained(
        folder, num_labels=5, ignore_mismatched_sizes=True, output_loading_info=True
    )
    assert info["mismatched_keys"]
    assert all(name.startswith("network.") for name, *_ in info["mismatched_keys"])
    assert without_grad(other, batch).logits.shape == (3, 5)
    assert without_grad(other, batch).logits.isfinite().all()
    assert len(other.class_names) == 5


@pytest.fixture
def no_leftovers_in_memory():
    """Fill memory that is not set by anything with NaN."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.filterwarnings("ignore:.*deterministic")
@pytest.mark.usefixtures("no_leftovers_in_memory")
def test_weights_that_a_file_lacks_are_drawn_as_those_of_a_new_model(own, folder, batch, tmp_path):
    for path in folder.iterdir():
        shutil.copy(path, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    encoders = {name: one for name, one in weights.items() if not name.startswith("network.")}
    save_file(encoders, tmp_path / "model.safetensors", {"format": "pt"})
    loaded, info = MvcnForClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert {name.partition(".")[0] for name in info["missing_keys"]} == {"network"}
    assert without_grad(loaded, batch).logits.isfinite().all()
    state = loaded.network.state_dict()
    for name, expected in own.network.state_dict().items():
        assert state[name].isfinite().all()
        one, other = (float(some.double().std(correction=0)) for some in (state[name], expected))
        assert (one == 0) == (other == 0), name
        if expected.numel() >= ENOUGH_WEIGHTS:
            assert one == pytest.approx(other, rel=0.2), name


def test_checkpointing_changes_no_gradient(own, batch):
    expected = gradients(own, batch)
    own.activation_checkpointing_enable()
    assert own.is_activation_checkpointing or own.text_encoder is None
    found = gradients(own, batch)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert_close(gradient, expected[name], 1e-6)


def gradients(model, batch):
    model.zero_grad()
    torch.manual_seed(0)  # of dropout
    model.train()(**batch, labels=torch.tensor([0, 1, 2])).loss.backward()
    return {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_can_be_halved_in_memory(own, batch, dtype):
    expected = without_grad(own, batch).logits.softmax(-1)
    halved = own.half() if dtype is torch.float16 else own.to(dtype)
    assert_close(without_grad(halved, batch).logits.float().softmax(-1), expected, 2e-2)


@pytest.mark.parametrize("device_map", ["auto", "cpu", {"": "cpu"}])
def test_a_device_map_places_it(model, folder, batch, device_map):
    loaded = MvcnForClassification.from_pretrained(folder, device_map=device_map)
    assert torch.equal(without_grad(loaded, batch).logits, without_grad(model, batch).logits)


def test_no_device_map_splits_what_adds_its_input_to_its_output(model):
    assert type(model.network).__name__ in model._no_split_modules
    for encoder in filter(None, (model.text_encoder, model.image_encoder)):
        assert set(encoder._no_split_modules) <= set(model._no_split_modules)


class EightBitLinear(nn.Module):
    """A linear layer whose weights are integers, each row with its own scale."""

    def __init__(self, layer):
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        scale = layer.weight.detach().abs().amax(1, keepdim=True) / 127
        self.register_buffer("scale", scale)
        self.register_buffer("codes", (layer.weight.detach() / scale).round().to(torch.int8))
        self.bias = layer.bias

    def forward(self, rows):
        return F.linear(rows, self.codes.to(rows.dtype) * self.scale.to(rows.dtype), self.bias)


def test_linear_layers_can_be_replaced_by_quantised_ones(own, batch):
    expected = without_grad(own, batch).logits.softmax(-1)
    for parent in [*own.modules()]:
        for name, child in [*parent.named_children()]:
            if isinstance(child, nn.Linear):
                setattr(parent, name, EightBitLinear(child))
    assert not any(isinstance(module, nn.Linear) for module in own.modules())
    assert_close(without_grad(own, batch).logits.softmax(-1), expected, 5e-2)


@pytest.mark.filterwarnings("ignore:torch.*deprecated")
def test_torch_can_quantise_it(own, batch):
    expected = without_grad(own, batch).logits.softmax(-1)
    quantised = torch.ao.quantization.quantize_dynamic(own, {nn.Linear}, dtype=torch.qint8)
    assert_close(without_grad(quantised, batch).logits.softmax(-1), expected, 5e-2)


def test_a_plain_trainer_trains_it_on_what_the_processor_returns(
    own, tiny_settings, generated_posts, tmp_path
):
    processor = build_processor(ModelConfig(**tiny_settings))
    posts = generated_posts[:8]
    inputs = processor(
        text=[post.text for post in posts],
        images=[post.image for post in posts],
        padding="max_length",
        return_tensors="pt",
    )
    labels = [number % 3 for number in range(8)]
    rows = [
        {name: values[number] for name, values in inputs.items()} | {"labels": labels[number]}
        for number in range(8)
    ]
    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=2, report_to="none", disable_tqdm=True, use_cpu=True
    )
    before = {name: weight.clone() for name, weight in own.network.state_dict().items()}
    trainer = Trainer(own, arguments, train_dataset=rows, eval_dataset=rows)
    trainer.train()
    assert any(not torch.equal(own.network.state_dict()[name], before[name]) for name in before)
    predicted = trainer.predict(rows)
    assert predicted.predictions.shape == (8, 3)
    assert predicted.label_ids.tolist() == labels
    logits = torch.from_numpy(predicted.predictions)
    expected = F.cross_entropy(logits, torch.tensor(labels)).item()
    assert predicted.metrics["test_loss"] == pytest.approx(expected, abs=1e-5)
