"""Which folders a run may use, and what a damaged one is told."""

import json
import shutil
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import load_file, save_file

from mvcn.config import read_recipe
from mvcn.errors import MissingExtraError, RunError
from mvcn.inference.classifier import Classifier
from mvcn.training.checkpoints import last_checkpoint
from mvcn.training.environment import describe_environment
from mvcn.training.records import write_history
from mvcn.training.run_folder import (
    Run,
    create_run_folder,
)


@pytest.fixture
def config(tiny_config):
    return tiny_config()


@pytest.fixture
def run(config, tmp_path):
    """A run that was begun."""
    create_run_folder(tmp_path / "run", config, resume=False, overwrite=False)
    return tmp_path / "run"


@pytest.fixture
def finished(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "finished")


def files(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


class TestCreateRunFolder:
    def test_a_new_or_empty_folder_becomes_a_run(self, config, tmp_path):
        (tmp_path / "empty").mkdir()
        for folder in (tmp_path / "new" / "nested", tmp_path / "empty"):
            create_run_folder(folder, config, resume=False, overwrite=False)
            assert Run(folder).is_started
            assert not Run(folder).is_finished
            assert last_checkpoint(folder) is None

    def test_the_settings_that_it_keeps_resolve_to_the_same(self, config, run):
        assert read_recipe(str(run / "config.yaml")) == config

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_other_peoples_files_are_never_replaced(self, config, tmp_path, overwrite):
        (tmp_path / "thesis.tex").write_text("years of work")
        with pytest.raises(RunError, match="holds other files: choose a new or empty folder"):
            create_run_folder(tmp_path, config, resume=False, overwrite=overwrite)
        assert files(tmp_path) == [(tmp_path / "thesis.tex").relative_to(tmp_path)]

    def test_a_file_is_no_folder(self, config, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(RunError, match="choose a new or empty folder"):
            create_run_folder(tmp_path / "file", config, resume=False, overwrite=True)

    def test_a_run_is_replaced_only_when_that_is_said(self, config, finished):
        before = files(finished)
        finished_sentence = "The run in .* is finished: choose another --output, or replace it with"
        with pytest.raises(RunError, match=finished_sentence):
            create_run_folder(finished, config, resume=False, overwrite=False)
        assert files(finished) == before
        create_run_folder(finished, config, resume=False, overwrite=True)
        assert not Run(finished).is_finished
        assert {path.name for path in finished.iterdir()} == {"config.yaml", "checkpoints"}

    def test_a_begun_run_is_resumed_or_replaced(self, config, run):
        with pytest.raises(
            RunError, match="continue it with --resume, replace it with --overwrite"
        ):
            create_run_folder(run, config, resume=False, overwrite=False)
        create_run_folder(run, config, resume=True, overwrite=False)

    def test_other_settings_are_refused_by_name(self, tiny_config, run):
        other = tiny_config(
            training={"epochs": 3, "batch_size": 4}, objective={"congruity_form": "share"}
        )
        named = r"\(objective.congruity_form, training.batch_size\)"
        with pytest.raises(RunError, match=rf"other settings {named}: use the same ones"):
            create_run_folder(run, other, resume=True, overwrite=False)

    def test_a_finished_run_is_not_resumed(self, config, finished):
        with pytest.raises(RunError, match="is already finished: leave out --resume"):
            create_run_folder(finished, config, resume=True, overwrite=False)

    def test_nothing_cannot_be_resumed(self, config, tmp_path):
        for folder in (tmp_path, tmp_path / "absent"):
            with pytest.raises(RunError, match="holds no run to resume"):
                create_run_folder(folder, config, resume=True, overwrite=False)


@pytest.mark.skipif(find_spec("timm") is not None, reason="timm is installed")
def test_a_run_without_the_library_of_its_encoder_says_what_to_install(finished):
    file = finished / "config.json"
    settings = json.loads(file.read_text("utf-8"))
    settings["image_config"] = {"model_type": "timm_wrapper", "hidden_size": 32}
    file.write_text(json.dumps(settings), "utf-8")
    with pytest.raises(
        MissingExtraError, match="'timm_wrapper' needs the extra 'timm': run pip inst"
    ):
        _ = Run(finished).model


def test_the_history_has_a_column_for_each_name(tmp_path):
    write_history(tmp_path / "h.csv", [{"loss": 1.5, "step": 1}, {"step": 2, "eval": 0.25}])
    assert (tmp_path / "h.csv").read_bytes() == b"eval,loss,step\r\n,1.5,1\r\n0.25,,2\r\n"


def test_the_history_is_the_same_whatever_the_order_of_names(tmp_path):
    entry = {"loss": 1.5, "epoch": 1, "congruity": 0.25}
    for name, log in (("a", [entry]), ("b", [dict(sorted(entry.items()))])):
        write_history(tmp_path / name, log)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_environment_names_versions():
    environment = describe_environment()
    assert environment["packages"]["torch"] == torch.__version__
    assert {"python", "packages", "git_commit"} == set(environment)


def load_error(folder):
    """Return the one sentence with which loading fails."""
    with pytest.raises(RunError) as caught:
        Classifier.from_pretrained(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


class TestLoading:
    def test_a_finished_run_loads(self, finished):
        assert Classifier.from_pretrained(finished).class_names == (
            "negative",
            "neutral",
            "positive",
        )

    def test_any_other_folder_is_no_run(self, tmp_path):
        assert "is not a run folder" in load_error(tmp_path)
        assert f"There is no folder {tmp_path / 'absent'}: use" in load_error(tmp_path / "absent")

    def test_an_unfinished_run_can_be_gone_on_with(self, run):
        assert (
            "is not finished: repeat the mvcn train command that began it, with --resume"
            in load_error(run)
        )

    def test_another_model_is_no_run_of_ours(self, tiny_text_encoder):
        load_error(tiny_text_encoder)

    @pytest.mark.parametrize(
        "name", ["config.json", "model.safetensors", "processor_config.json", "tokenizer.json"]
    )
    @pytest.mark.parametrize("content", [b"", b"{garbage", b"[]", None], ids=repr)
    def test_a_damaged_file_is_reported(self, finished, name, content):
        (finished / name).unlink()
        if content is not None:
            (finished / name).write_bytes(content)
        message = load_error(finished)
        if (name, content) != ("config.json", None):
            assert "is damaged" in message
            assert message.endswith("train it again.") or "do not fit" in message

    @pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
    def test_truncated_weights_are_reported(self, finished, share):
        weights = finished / "model.safetensors"
        content = weights.read_bytes()
        weights.write_bytes(content[: int(share * len(content))])
        assert "is damaged" in load_error(finished)

    @pytest.mark.parametrize("change", ["missing", "unexpected", "misshapen"])
    def test_weights_that_do_not_fit_are_reported(self, finished, change):
        weights = load_file(finished / "model.safetensors")
        if change == "missing":
            del weights["network.classifier.weight"]
        elif change == "unexpected":
            weights["other.weight"] = torch.zeros(2)
        else:
            weights["network.classifier.weight"] = torch.zeros(4, 24)
        save_file(weights, finished / "model.safetensors", {"format": "pt"})
        assert "is damaged" in load_error(finished)

    def test_pickled_weights_are_not_read(self, finished):
        weights = load_file(finished / "model.safetensors")
        torch.save(weights, finished / "pytorch_model.bin")
        (finished / "model.safetensors").unlink()
        assert "is damaged" in load_error(finished)

    def test_code_in_the_folder_is_not_run(self, finished):
        settings = json.loads((finished / "config.json").read_text())
        settings["auto_map"] = {"AutoModelForSequenceClassification": "mine.Model"}
        (finished / "config.json").write_text(json.dumps(settings))
        (finished / "mine.py").write_text(f"open({str(finished / 'was-run')!r}, 'w').close()")
        Classifier.from_pretrained(finished)
        assert not (finished / "was-run").exists()


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("predictions", "dev_predictions.csv"),
        ("environment", "environment.json"),
        ("history", "history.csv"),
        ("metrics", "metrics.json"),
        ("config", "config.yaml"),
    ],
)
def test_files_of_a_run_that_are_missing_or_damaged_are_reported(part, name, tmp_path):
    def read(run):
        return run.predictions("dev") if part == "predictions" else getattr(run, part)

    with pytest.raises(RunError, match=f"{name} is missing or damaged"):
        read(Run(tmp_path))
    unreadable = [b"\xff\xfe"] if name == "config.yaml" else [b"\xff\xfe", b"", b"{}\n", b"[]"]
    for content in unreadable:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RunError, match=f"{name} is missing or damaged"):
            read(Run(tmp_path))
