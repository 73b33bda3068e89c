"""An ensemble in one model: the mean of its members, each part held and saved once."""

import pytest
import torch
from safetensors import safe_open

from mvcn.inputs.batches import PostEncoder
from mvcn.inputs.processor import build_processor
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model, join_members
from mvcn.models.classification import MvcnForClassification
from mvcn.models.ensemble import disagreement, join_tokens, split_tokens
from mvcn.models.network import probabilities
from mvcn.models.registry import MODELS

NAMES = ("negative", "neutral", "positive")
MEMBERS = 3


@pytest.fixture
def build(tiny_settings, generated_posts):
    def build(**changes):
        config = ModelConfig(**tiny_settings, **changes)
        members = []
        for seed in range(MEMBERS):
            torch.manual_seed(seed)
            member = build_model(config, NAMES).eval()
            with torch.no_grad():
                for weight in member.parameters():
                    if weight.requires_grad:
                        weight.add_(0.05 * torch.randn_like(weight))
            members.append(member)
        encoder = PostEncoder.for_prediction(members[0].config, build_processor(config))
        inputs = encoder.encode(generated_posts[:6], "blank").inputs(range(6))
        weights = [member.trained_weights() for member in members]
        return members, join_members(members[0], weights), inputs

    return build


def mean_of(members, inputs):
    with torch.inference_mode():
        return torch.stack([probabilities(one(**inputs).logits) for one in members]).mean(0)


@pytest.mark.parametrize("network", MODELS)
def test_every_network_gives_the_mean_of_its_members(build, network):
    members, ensemble, inputs = build(network=network, frozen_text_layers=1)
    expected = mean_of(members, inputs)
    with torch.inference_mode():
        output = ensemble(**inputs)
    torch.testing.assert_close(probabilities(output.logits), expected, atol=1e-6, rtol=0)
    assert output.disagreement.max() > 0


@pytest.mark.parametrize(
    "settings",
    [
        {"frozen_text_layers": 0},
        {"freeze_text_embeddings": True},
        {"freeze_image_encoder": False, "frozen_text_layers": 1},
        {"freeze_image_encoder": False, "network": "concat3"},
        {"fusion": "equal"},
        {"frozen_text_layers": "all", "lower_text_layers": 1},
        {"frozen_text_layers": "all", "freeze_image_encoder": False, "network": "concat3"},
        {"frozen_text_layers": 1},
    ],
)
def test_whatever_is_trained_belongs_to_each_member(build, settings):
    members, ensemble, inputs = build(**settings)
    expected = mean_of(members, inputs)
    with torch.inference_mode():
        found = probabilities(ensemble(**inputs).logits)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_a_saved_ensemble_holds_frozen_weights_once_and_loads_equal(build, tmp_path):
    _, ensemble, inputs = build(frozen_text_layers=1)
    ensemble.save_pretrained(tmp_path)
    loaded, info = MvcnForClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    with torch.inference_mode():
        torch.testing.assert_close(loaded.eval()(**inputs).logits, ensemble(**inputs).logits)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        stored = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    unique = {t.data_ptr(): t.numel() for t in [*ensemble.parameters(), *ensemble.buffers()]}
    assert stored <= sum(unique.values())
    first, second = loaded.text_encoders[:2]
    assert first.embeddings is second.embeddings
    shared = {id(weight) for weight in first.parameters()} & {
        id(weight) for weight in second.parameters()
    }
    assert len(shared) == sum(not weight.requires_grad for weight in first.parameters())


def test_disagreement_is_the_deviation_of_the_predicted_class():
    rows = torch.tensor([[[0.9, 0.1], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]]])
    torch.testing.assert_close(disagreement(rows), torch.tensor([0.2, 0.0]))


@pytest.mark.parametrize(
    "own", [("text", "object_names", "attributes"), ("image", "objects", "attributes"), ()]
)
def test_tokens_of_members_are_joined_and_split_again(build, own):
    members, _, inputs = build(network="concat3")
    parts = [member.encode(**inputs) for member in members]
    shared = {name: value for name, value in parts[0]._asdict().items() if name not in own}
    parts = [part._replace(**shared) for part in parts]
    again = split_tokens(join_tokens(parts, own), MEMBERS, own)
    for part, one in zip(parts, again, strict=True):
        for expected, found in zip(part, one, strict=True):
            torch.testing.assert_close(found, expected)
