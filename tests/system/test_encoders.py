"""Runs with encoders of other kinds than the packaged ones, from the training to the prediction."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors import safe_open
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import TrainerCallback

from mvcn.errors import MvcnError
from mvcn.inference.classifier import Classifier
from mvcn.training.run import train
from tests import tiny_encoders


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """Folder of a tiny GPT-2, whose tokenizer reads bytes, adds no marks and has no padding."""
    folder = tmp_path_factory.mktemp("gpt2")
    tiny_encoders.save(hf.GPT2Config(**tiny_encoders.DECODER_OF_BYTES), folder)
    pieces = [*pre_tokenizers.ByteLevel.alphabet(), "<|endoftext|>"]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(sorted(pieces))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **end).save_pretrained(folder)
    return folder


def rows(classifier, posts):
    return np.array([[*one.probabilities.values()] for one in classifier.predict(posts)])


def test_a_decoder_is_trained_saved_exported_and_asked(
    decoder, tiny_config, generated_posts, tmp_path
):
    config = tiny_config(
        model={"text_encoder": str(decoder), "max_tokens": "auto"},
        training={"epochs": 1, "export": True},
    )
    run = train(config, tmp_path / "run")
    without = replace(generated_posts[0], text="")
    posts = [without, *generated_posts[:3], replace(generated_posts[4], text="\U0001f600 \u00e9")]
    by_torch, by_graphs = (
        Classifier.from_pretrained(run.folder, name) for name in ("torch", "onnx")
    )
    expected = rows(by_torch, posts)
    np.testing.assert_allclose(rows(by_graphs, posts), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(rows(by_graphs, [without]), expected[:1], rtol=0, atol=1e-5)
    assert expected.std(0).min() > 1e-4


class StoppedError(MvcnError):
    """A training was interrupted."""


class Stopping(TrainerCallback):
    def on_save(self, args, state, control, **kwargs):
        raise StoppedError


def with_adapters(tiny_config, **training):
    return tiny_config(
        model={"text_adapter": {"rank": 4}, "frozen_text_layers": 0},
        training={"epochs": 2, **training},
    )


def test_adapters_resume_bit_for_bit_from_checkpoints_that_hold_them_alone(tiny_config, tmp_path):
    config = with_adapters(tiny_config)
    whole = train(config, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(config, tmp_path / "cut", callbacks=[Stopping()])
    (kept,) = (tmp_path / "cut/checkpoints").glob("*/model.safetensors")
    with safe_open(kept, "pt") as file:
        names = [name for name in file.keys() if name.startswith("text_encoder.")]  # noqa: SIM118
    assert names
    assert all(".lora_" in name for name in names)
    resumed = train(config, tmp_path / "cut", resume=True)
    one, other = ((run.folder / "model.safetensors").read_bytes() for run in (whole, resumed))
    assert one == other


def test_members_with_adapters_are_saved_merged_and_asked(tiny_config, generated_posts, tmp_path):
    config = with_adapters(tiny_config, members=2, epochs=1, export=True)
    run = train(config, tmp_path / "run")
    with safe_open(run.folder / "model.safetensors", "pt") as file:
        assert not any("lora" in name for name in file.keys())  # noqa: SIM118
    by_torch, by_graphs = (
        rows(Classifier.from_pretrained(run.folder, name), generated_posts[:4])
        for name in ("torch", "onnx")
    )
    np.testing.assert_allclose(by_graphs, by_torch, rtol=0, atol=1e-5)
    first, second = (run.model.text_encoders[number].state_dict() for number in (0, 1))
    differ = {name for name in first if not torch.equal(first[name], second[name])}
    assert differ
    assert all(name.endswith("weight") and "LayerNorm" not in name for name in differ)
