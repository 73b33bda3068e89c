"""Journeys on the command line: what a person types, what it prints, and how it fails."""

import ast
import csv
import json
import math
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mvcn.cli.commands import COMMANDS
from mvcn.data.table import read_table
from mvcn.inference.classifier import Classifier
from mvcn.training.run_folder import Run


@pytest.fixture
def train_options(tiny_options, posts_table):
    train, dev = (posts_table / part / "posts.csv" for part in ("train", "dev"))
    return ["--train", train, "--dev", dev, *tiny_options]


def write_csv(path, rows, header=("id", "text", "image", "label")):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def bad_images(tmp_path, posts_table):
    """Return a CSV of one good post and one post for each way in which an image can be bad."""
    good = Path(shutil.copy(next((posts_table / "dev/images").iterdir()), tmp_path))
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "half.png").write_bytes(good.read_bytes()[:2000])
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    names = {"missing": "nowhere.jpg", "empty": "empty.jpg", "text": "text.jpg"}
    names |= {"truncated": "half.png", "bomb": "bomb.png"}
    rows = [(post_id, "a fine day", name, "positive") for post_id, name in names.items()]
    return write_csv(tmp_path / "bad.csv", [("good", "a fine day", good, "positive"), *rows])


SLOW = ("torch", "transformers", "numpy", "scipy", "sklearn", "pandas", "pyarrow", "PIL", "rich")


def imported_by(program):
    """Return the slow libraries that a program imports in a process of its own."""
    printed = f"import sys; {program}\nprint(sorted({{*{SLOW}}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", printed], capture_output=True, text=True)
    return done.stdout.splitlines()[-1], done.stderr


@pytest.mark.parametrize(
    "program",
    [
        "import mvcn",
        "from mvcn.cli.commands import COMMANDS, load; [load(name) for name in COMMANDS]",
        "from mvcn.cli import app; app(['models'], standalone_mode=False)",
        "from mvcn.cli import app; app(['--version'], standalone_mode=False)",
    ],
)
def test_what_needs_no_model_waits_for_no_slow_library(program):
    assert imported_by(program) == ("[]", "")


@pytest.mark.parametrize("mistake", [["--recipe", "best-of-all"], ["--set", "training.epochs=0"]])
def test_a_mistake_in_the_settings_of_a_training_waits_for_no_slow_library(mistake):
    program = f"sys.argv = {['mvcn', 'train', 'posts.csv', '--output', 'run', *mistake]}\n"
    program += "from contextlib import suppress; from mvcn.cli import main\n"
    program += "with suppress(SystemExit): main()"
    imported, message = imported_by(program)
    assert imported == "[]"
    assert message.startswith("Error: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--columns", "label=mood"], "has no column 'mood' for 'label'"),
        (["--images", "nowhere"], "The image folder nowhere does not exist"),
        (["--output", "FINISHED"], "is finished: choose another --output"),
        (["--output", "FINISHED", "--resume"], "is already finished: leave out --resume"),
    ],
)
def test_a_mistake_in_what_is_trained_on_waits_for_no_model(
    posts_table, tiny_run, options, message
):
    options = [str(tiny_run) if option == "FINISHED" else option for option in options]
    command = ["mvcn", "train", str(posts_table / "train/posts.csv"), "--output", "run", *options]
    program = f"sys.argv = {command}; from contextlib import suppress; from mvcn.cli import main\n"
    imported, error = imported_by(f"{program}with suppress(SystemExit): main()")
    assert message in error
    assert not {"torch", "transformers", "sklearn"} & set(ast.literal_eval(imported))


def test_an_unknown_post_waits_for_no_model(tiny_run):
    command = ["mvcn", "explain", str(tiny_run), "--post", "nobody", "--output", "why"]
    program = f"sys.argv = {command}; from contextlib import suppress; from mvcn.cli import main\n"
    imported, error = imported_by(f"{program}with suppress(SystemExit): main()")
    assert "do not include the id 'nobody'" in error
    assert not {"torch", "transformers", "sklearn"} & set(ast.literal_eval(imported))


def test_every_command_has_its_summary_and_help(mvcn):
    _, overview, _ = mvcn("--help")
    for name, (_, summary) in COMMANDS.items():
        assert f"  {name:<10}  {summary}\n" in overview  # in full
        assert mvcn(name, "-h")[0] == 0


def test_a_mistyped_command_is_corrected(mvcn):
    code, _, message = mvcn("predit")
    assert code == 2
    assert "No such command 'predit'. Did you mean 'predict'?" in message


def test_the_version_is_that_of_the_package(mvcn):
    assert mvcn("--version")[1].strip() == version("mvcn")


def test_models_are_listed_and_trained_by_name(mvcn, train_options, tmp_path):
    code, output, _ = mvcn("models", "--json")
    assert code == 0
    entries = {entry["name"]: entry for entry in json.loads(output)}
    assert entries["mvcn"]["inputs"] == ["text", "image"]
    assert entries["mvcn"]["published"]["mvsa-single"]["f1"] == 74.55
    assert {entries[name]["source"] for name in ("tgf", "mfs")} == {
        "Wei et al., ACL 2023, ablation"
    }
    code, output, _ = mvcn("models")
    assert code == 0
    assert [line.split()[0] for line in output.splitlines()[1:]] == list(entries)
    assert "76.06 / 74.55" in output

    run = tmp_path / "run"
    code, _, _ = mvcn("train", "--model", "mfs", *train_options, "--output", run)
    assert code == 0
    saved = json.loads((run / "config.json").read_text())
    assert (saved["network"], saved["fusion"]) == ("mvcn", "equal")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "mvnc"], "There is no model 'mvnc': did you mean 'mvcn'?"),
        (["--model", "tgf", "--recipe", "best"], "Use either --model or --recipe, not both"),
        (["--set", "model.network=bret"], "There is no model 'bret'"),
        (
            ["--set", "model.options={hops: 3}"],
            "no setting 'model.options.hops': there are none here",
        ),
    ],
)
def test_a_model_that_does_not_exist_is_an_error(mvcn, train_options, tmp_path, options, message):
    code, _, errors = mvcn("train", *train_options, *options, "--output", tmp_path / "run")
    assert code == 2
    assert message in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "header", "cell", "message"),
    [
        ("resnet", "text", "a fine day", "'resnet' reads only images, but no training post has"),
        ("text-cnn", "image", "patch.png", "'text-cnn' reads only texts, but no training post"),
    ],
)
def test_posts_that_a_model_cannot_read_are_refused(mvcn, tmp_path, model, header, cell, message):
    Image.new("RGB", (32, 32)).save(tmp_path / "patch.png")
    rows = [f"{cell},{label}" for label in ("good", "bad") * 20]
    (tmp_path / "posts.csv").write_text("\n".join([f"{header},label", *rows]))
    table = ["--train", tmp_path / "posts.csv", "--output", tmp_path / "run"]
    code, _, errors = mvcn("train", "--model", model, *table)
    assert code == 2
    assert message in errors
    assert not (tmp_path / "run").exists()


def test_an_ensemble_with_dev_posts_says_both_scores(mvcn, train_options, posts_table, tmp_path):
    chosen = [*train_options, "--set", "training.members=2"]
    code, output, _ = mvcn("train", *chosen, "--output", tmp_path / "run")
    assert code == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    for name, start in (
        ("out_of_fold", "Trained on 32 posts; 2 members, each evaluated on the posts that it was"),
        ("dev", "On 16 dev posts, which no member was trained on: "),
    ):
        (line,) = [line for line in output.splitlines() if line.startswith(start)]
        assert f"accuracy {100 * metrics[name]['accuracy']:.1f}" in line

    posts = posts_table / "train" / "posts.csv"
    _, _, told = mvcn("evaluate", tmp_path / "run", "--root", posts)
    assert "was trained on these posts" in told
    _, _, told = mvcn("evaluate", tmp_path / "run", "--root", posts_table / "dev/posts.csv")
    assert "was trained on these posts" not in told


def test_near_duplicates_of_training_posts_are_counted(mvcn, train_options, posts_table, tmp_path):
    run, scores, posts = tmp_path / "run", tmp_path / "scores.json", posts_table / "train/posts.csv"
    assert mvcn("train", *train_options, "--output", run)[0] == 0
    (first, *_), unseen = read_csv(posts), ("own", "no other post says so", "", "negative")
    near = [(f"n{i}", f"{first['text']} https://t.co/{i}", "", first["label"]) for i in range(2)]
    table = write_csv(tmp_path / "new.csv", [*near, unseen])

    _, _, told = mvcn("evaluate", run, table, "--json", scores)
    assert f"2 posts have a text that is nearly equal to one that {run} was trained on" in told
    is_right = Classifier.from_pretrained(run).predict_one(unseen[1]).label == unseen[3]
    assert f"of the others, {100 * is_right:.1f} % are correct." in told
    assert json.loads(scores.read_text())["near_duplicates_of_training_posts"] == 2

    _, _, told = mvcn("evaluate", run, write_csv(tmp_path / "unseen.csv", [unseen]))
    assert "nearly equal" not in told
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(str(posts), str(tmp_path / "gone.csv")))
    _, _, told = mvcn("evaluate", run, table, "--json", scores)
    assert f"Whether {run} was trained on some of these posts is not known" in told
    assert json.loads(scores.read_text())["near_duplicates_of_training_posts"] is None


@pytest.mark.parametrize(
    "command", ["predict", "evaluate", "explain", "export", "report", "serve", "bulk"]
)
def test_a_table_in_place_of_the_run_is_told(fails, posts_table, tmp_path, command):
    table = posts_table / "train" / "posts.csv"
    output = ["--output", tmp_path / "new"] if command in {"explain", "bulk"} else []
    given = {"evaluate": [table], "explain": ["--post", "1"], "bulk": ["x.parquet"]}
    message = fails(command, table, *given.get(command, []), *output)
    assert f"{table} is a file, but the run comes first" in message


@pytest.mark.parametrize("option", ["--root", "--train"])
def test_posts_that_are_named_twice_are_refused(fails, tmp_path, option):
    message = fails("train", "a.csv", option, "b.csv", "--output", tmp_path / "run")
    assert f"Both a.csv and {option} b.csv are posts to train on" in message


def test_the_package_is_the_command():
    command = [sys.executable, "-m", "mvcn", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Train, evaluate and use classifiers" in done.stdout


def test_train_evaluate_and_predict_agree(mvcn, train_options, posts_table, tmp_path):
    run, dev = tmp_path / "run", posts_table / "dev/posts.csv"
    code, output, _ = mvcn("train", *train_options[1:], "--output", run)  # without --train
    assert code == 0
    assert "weighted F1" in output
    new = posts_table / "train" / "new.csv"
    assert output.endswith(f"mvcn predict {run} {new} --output out.csv\n")
    trained = json.loads((run / "metrics.json").read_text())["dev"]

    code, output, _ = mvcn("evaluate", run, "--root", dev, "--json", tmp_path / "scores.json")
    assert code == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["n"] == 16
    for name in ("accuracy", "f1_weighted", "f1_macro"):
        assert scores[name] == trained[name]

    code, _, _ = mvcn("predict", run, dev, "--output", tmp_path / "out.csv")
    assert code == 0
    rows, posts = read_csv(tmp_path / "out.csv"), read_table(dev).posts
    assert [row["id"] for row in rows] == [post.id for post in posts]
    hits = [row["predicted_label"] == post.label for row, post in zip(rows, posts, strict=True)]
    assert sum(hits) / 16 == scores["accuracy"]

    python = list(Classifier.from_pretrained(run).predict(posts))
    for row, prediction in zip(rows, python, strict=True):
        for name, probability in prediction.probabilities.items():
            assert float(row[f"probability_{name}"]) == probability


def test_a_target_precision_leaves_unsure_posts_without_a_label(
    mvcn, tiny_run, posts_table, tmp_path
):
    dev, every, sure = posts_table / "dev/posts.csv", tmp_path / "every.csv", tmp_path / "sure.csv"
    assert mvcn("predict", tiny_run, dev, "--output", every)[0] == 0
    code, output, errors = mvcn("predict", tiny_run, dev, "--output", sure, "--precision", 0.05)
    assert code == 0
    least = Run(tiny_run).threshold(0.05).confidence
    assert f"need a probability of {least:.3f}:" in errors
    without = 0
    for row, before in zip(read_csv(sure), read_csv(every), strict=True):
        probable = max(float(v) for k, v in before.items() if k.startswith("probability_"))
        assert row == before | ({} if probable >= least else {"label": ""})
        without += probable < least
    assert f"{without} of them have no label" in output


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        (0.999, "On 16 held-out posts, no threshold reaches a precision of 0.999"),
        (1.5, "must be between 0 and 1"),
    ],
)
def test_a_precision_that_cannot_be_had_is_refused(
    mvcn, tiny_run, posts_table, tmp_path, precision, message
):
    options = ["--output", tmp_path / "out.csv", "--precision", precision]
    code, _, errors = mvcn("predict", tiny_run, posts_table / "dev/posts.csv", *options)
    assert code == 2
    assert message in errors
    assert not (tmp_path / "out.csv").exists()


def test_one_post_from_the_command_line_equals_python(mvcn, tiny_run, posts_table):
    image = next((posts_table / "dev/images").iterdir())
    code, output, _ = mvcn("predict", tiny_run, "--text", "a lovely day", "--image", image)
    prediction = Classifier.from_pretrained(tiny_run).predict_one("a lovely day", image)
    assert code == 0
    label, *rows = output.split("\n")
    assert label == prediction.label
    shown = {row.split()[0]: float(row.split()[1]) for row in rows if row}
    assert shown == {name: round(p, 3) for name, p in prediction.probabilities.items()}
    assert math.isclose(sum(prediction.probabilities.values()), 1)


def test_a_bad_image_stops_and_is_named(fails, tiny_run, bad_images, tmp_path):
    sentence = fails("predict", tiny_run, bad_images, "--output", tmp_path / "out.csv")
    assert "5 images" in sentence
    assert "--on-bad-image blank (without image) or drop (without post)." in sentence
    assert "on_bad_image" not in sentence
    assert "post 'missing'" in sentence
    assert not (tmp_path / "out.csv").exists()
    assert "5 images" in fails("evaluate", tiny_run, "--root", bad_images)


def test_a_blanked_image_is_as_no_image_and_counted(mvcn, tiny_run, bad_images, tmp_path):
    out = tmp_path / "out.csv"
    code, _, errors = mvcn(
        "predict", tiny_run, bad_images, "--output", out, "--on-bad-image", "blank"
    )
    assert code == 0
    assert "5 images" in errors
    rows = {row["id"]: row for row in read_csv(out)}
    assert list(rows) == ["good", "missing", "empty", "text", "truncated", "bomb"]
    expected = Classifier.from_pretrained(tiny_run).predict_one("a fine day")
    for post_id in list(rows)[1:]:
        for name, probability in expected.probabilities.items():
            assert float(rows[post_id][f"probability_{name}"]) == pytest.approx(probability, 1e-6)


def test_a_dropped_post_is_left_out_and_counted(mvcn, tiny_run, bad_images, tmp_path):
    out, scores = tmp_path / "out.csv", tmp_path / "scores.json"
    code, output, errors = mvcn(
        "predict", tiny_run, bad_images, "--output", out, "--on-bad-image", "drop"
    )
    assert code == 0
    assert [row["id"] for row in read_csv(out)] == ["good"]
    assert "Wrote 1 prediction" in output
    assert all(name in errors for name in ("missing", "empty", "text", "truncated", "bomb"))
    arguments = ("--root", bad_images, "--json", scores, "--on-bad-image", "drop")
    assert mvcn("evaluate", tiny_run, *arguments)[0] == 0
    report = json.loads(scores.read_text())
    assert report["n"] == 1
    assert len(report["bad_images"]["posts"]) == 5


def test_texts_that_are_too_long_are_told_once_and_counted(mvcn, tiny_run, tmp_path):
    table, scores = tmp_path / "posts.csv", tmp_path / "scores.json"
    text = "all is well " * 9
    table.write_text(f"text,label\n{text}x,positive\n{text}y,negative\nshort,positive\n")
    sentence = "Warning: 2 texts are longer than 64 word pieces, and the rest is not read"
    for arguments in (
        ("predict", tiny_run, table, "--output", tmp_path / "out.csv"),
        ("evaluate", tiny_run, "--root", table, "--json", scores),
    ):
        code, _, errors = mvcn(*arguments)
        assert code == 0
        assert errors.count(sentence) == errors.count("word pieces") == 1
    counts = json.loads(scores.read_text())["texts"]
    assert (counts["texts"], counts["truncated"]) == (3, 2)
    errors = mvcn("predict", tiny_run, "--text", text)[2]
    assert "1 text is longer than 64 word pieces" in errors


def test_nothing_is_overwritten_unless_asked(mvcn, fails, tiny_run, posts_table, tmp_path):
    dev, out = posts_table / "dev/posts.csv", tmp_path / "out.csv"
    assert mvcn("predict", tiny_run, dev, "--output", out)[0] == 0
    before = out.read_text()
    assert "--overwrite" in fails("predict", tiny_run, dev, "--output", out)
    assert out.read_text() == before
    assert mvcn("predict", tiny_run, dev, "--output", out, "--overwrite")[0] == 0


def test_an_output_folder_in_use_is_refused(fails, tiny_run, train_options, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    sentence = fails("train", *train_options, "--output", run)
    assert "is finished: choose another --output, or replace it with --overwrite." in sentence
    both = fails("train", *train_options, "--output", run, "--overwrite", "--resume")
    assert "Use either --resume or --overwrite, not both" in both
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/holiday.jpg").touch()
    for option in ((), ("--overwrite",)):
        sentence = fails("train", *train_options, "--output", tmp_path / "photos", *option)
        assert "other files" in sentence
    assert (tmp_path / "photos/holiday.jpg").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--data", "nothing"), "There is no dataset 'nothing'"),
        (("--columns", "text=tweet"), "tweet"),
        (("--sheet", "May"), "--sheet"),
    ],
)
def test_faulty_options_of_posts_are_named_before_a_folder_in_use(
    fails, tiny_run, train_options, option, message
):
    assert message in fails("train", *train_options, "--output", tiny_run, *option)


def test_the_log_is_shown_once_whatever_the_root_logger_prints(
    mvcn, caplog, tiny_run, posts_table, tmp_path
):
    command = ("predict", tiny_run, posts_table / "dev/posts.csv", "--output", tmp_path / "out.csv")
    assert mvcn(*command)[2].count("text from 'text'") == 1
    assert not [record for record in caplog.records if record.name.startswith("mvcn")]


def test_a_start_that_fails_leaves_nothing_behind(fails, train_options, tiny_run, tmp_path):
    for fault in ("model.frozen_text_layers=99", "model.text_encoder=nowhere"):
        fails("train", *train_options, "--output", tmp_path / "new", "--set", fault)
        assert not (tmp_path / "new").exists()
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    fault = ("--overwrite", "--set", "model.frozen_text_layers=99")
    fails("train", *train_options, "--output", run, *fault)
    assert Classifier.from_pretrained(run).predict_one("hello").label


def test_results_need_a_place_and_spare_the_posts(fails, tiny_run, posts_table, tmp_path):
    dev = shutil.copy(posts_table / "dev/posts.csv", tmp_path / "posts.csv")
    before, nowhere = Path(dev).read_bytes(), tmp_path / "nowhere"
    assert "nowhere" in fails("predict", tiny_run, dev, "--output", nowhere / "out.csv")
    assert "nowhere" in fails("evaluate", tiny_run, "--root", dev, "--json", nowhere / "a.json")
    assert "is a folder" in fails("predict", tiny_run, dev, "--output", tmp_path, "--overwrite")
    assert Path(dev).read_bytes() == before


@pytest.mark.parametrize("name", ["posts.csv", "model.safetensors", "photo.png"])
def test_no_command_replaces_what_it_did_not_write(fails, tiny_run, posts_table, tmp_path, name):
    table, other = posts_table / "dev/posts.csv", tmp_path / name
    source = table if name == "posts.csv" else tiny_run / "model.safetensors"
    other.write_bytes(source.read_bytes())
    before, link = other.read_bytes(), tmp_path / "link"
    link.symlink_to(other)
    for path in (other, link):
        assert "is no" in fails("predict", tiny_run, table, "--output", path, "--overwrite")
        assert "is no" in fails("evaluate", tiny_run, "--root", table, "--json", path)
        assert "is no" in fails("audit", "--root", table, "--html", path)
    assert other.read_bytes() == before


def test_scores_are_written_anew(mvcn, tiny_run, posts_table, tmp_path):
    arguments = ("evaluate", tiny_run, "--root", posts_table / "dev/posts.csv")
    scores, link = tmp_path / "scores.json", tmp_path / "link"
    link.symlink_to(scores)
    assert mvcn(*arguments, "--json", scores)[0] == 0
    before = scores.read_text()
    assert mvcn(*arguments, "--json", link)[0] == 0
    assert link.is_symlink()
    assert scores.read_text() == before


def test_predictions_go_through_a_pipe(mvcn, tiny_run, posts_table, tmp_path):
    dev, pipe = posts_table / "dev/posts.csv", tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True)
    assert mvcn("predict", tiny_run, dev, "--output", pipe)[0] == 0
    read, _ = reader.communicate(timeout=60)
    assert len(read.splitlines()) == 17
    assert pipe.is_fifo()


def test_one_post_with_a_bad_image_follows_the_policy(mvcn, fails, tiny_run, tmp_path):
    image = tmp_path / "broken.jpg"
    image.write_bytes(b"no image")
    arguments = ("predict", tiny_run, "--text", "a lovely day", "--image", image)
    assert "broken.jpg" in fails(*arguments)
    code, output, errors = mvcn(*arguments, "--on-bad-image", "blank")
    expected = Classifier.from_pretrained(tiny_run).predict_one("a lovely day")
    assert (code, output.split("\n")[0]) == (0, expected.label)
    assert "broken.jpg" in errors
    code, output, errors = mvcn(*arguments, "--on-bad-image", "drop")
    assert (code, output) == (0, "")
    assert "The post has no label: " in errors


def test_settings_and_files_that_do_not_exist_are_named(fails, tiny_run, train_options, tmp_path):
    new = tmp_path / "new"
    sentence = fails("train", *train_options, "--output", new, "--set", "training.epoch=3")
    assert "training.epochs" in sentence
    assert "nowhere.csv" in fails("train", "--train", "nowhere.csv", "--output", new)
    assert "nowhere" in fails("train", *train_options, "--output", new, "--recipe", "nowhere")
    assert "nowhere" in fails("evaluate", tmp_path / "nowhere", "--root", "x.csv")
    assert "not a run" in fails("predict", tmp_path, "--text", "hello")
    assert "There is no dataset" in fails("train", "--data", "nothing", "--output", new)
    assert "resume" in fails("train", *train_options, "--output", new, "--resume")
    assert "neither text nor image" in fails("predict", tiny_run)
    for option in (("--output", new), ("--overwrite",), ("--split", "dev"), ("--splits", new)):
        assert "need a file of posts" in fails("predict", tiny_run, "--text", "hello", *option)
    assert not new.exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("id,text,label\n1,hello,angry\n", "angry"),
        ("id,text,label\n7,hello,positive\n7,again,positive\n", "7"),
        ("id,label\n1,positive\n", "text"),
        ("text,label\n", "posts.csv"),
        ("text,label\nhello,positive,more\n", "row 1"),
        ("text,image,label\nhello,http://example.org/a.jpg,positive\n", "http"),
    ],
    ids=["unknown label", "duplicate id", "missing column", "no rows", "ragged row", "address"],
)
def test_a_faulty_table_is_named_with_its_fault(fails, tiny_run, tmp_path, content, named):
    path = tmp_path / "posts.csv"
    path.write_text(content, "utf-8")
    assert named in fails("evaluate", tiny_run, "--root", path)


def test_a_table_in_another_encoding_is_refused(fails, tiny_run, tmp_path):
    path = tmp_path / "latin.csv"
    path.write_bytes("text,label\ncaf\u00e9,positive\n".encode("latin-1"))
    assert "UTF-8" in fails("evaluate", tiny_run, "--root", path)


def test_ids_choose_posts_and_unknown_ones_are_named(mvcn, fails, tiny_run, posts_table, tmp_path):
    dev, ids = posts_table / "dev/posts.csv", tmp_path / "ids.txt"
    chosen = [post.id for post in read_table(dev).posts[:5]]
    ids.write_text("\n".join(chosen))
    scores = tmp_path / "scores.json"
    arguments = ("evaluate", tiny_run, "--root", dev, "--ids", ids, "--json", scores)
    assert mvcn(*arguments)[0] == 0
    assert json.loads(scores.read_text())["n"] == 5
    ids.write_text("\n".join([*chosen, "nobody"]))
    assert "nobody" in fails(*arguments)


def test_empty_texts_and_posts_without_images_are_predicted(mvcn, tiny_run, posts_table, tmp_path):
    image = shutil.copy(next((posts_table / "dev/images").iterdir()), tmp_path)
    rows = [("a", "", str(image)), ("b", "only text", "")]
    table = write_csv(tmp_path / "odd.csv", rows, header=("id", "text", "image"))
    assert mvcn("predict", tiny_run, table, "--output", tmp_path / "out.csv")[0] == 0
    for row in read_csv(tmp_path / "out.csv"):
        total = sum(float(value) for name, value in row.items() if name.startswith("probability"))
        assert total == pytest.approx(1)


@pytest.fixture
def empty_posts(tmp_path, posts_table):
    """Return a CSV of one whole post, two without text and image, and one of a bad image alone."""
    image = shutil.copy(next((posts_table / "dev/images").iterdir()), tmp_path)
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    rows = [("a", "fine", image), ("b", "", ""), ("c", " ", ""), ("d", "", "bad.jpg")]
    return write_csv(tmp_path / "empty.csv", [(*row, "positive") for row in rows])


def test_posts_with_nothing_to_read_get_no_label_and_are_counted(
    mvcn, fails, tiny_run, empty_posts, tmp_path
):
    out, scores = tmp_path / "out.csv", tmp_path / "scores.json"
    blank = ("--on-bad-image", "blank")
    code, output, errors = mvcn("predict", tiny_run, empty_posts, "--output", out, *blank)
    assert code == 0
    assert [row["id"] for row in read_csv(out)] == ["a", "b", "c", "d"]
    assert [row["id"] for row in read_csv(out) if row["predicted_label"]] == ["a"]
    assert "Wrote 1 prediction " in output
    listed = [
        "3 posts have no label:",
        *(f"  post {one!r}: The post has neither text nor image" for one in "bc"),
        "  post 'd': Image ",
    ]
    told = errors.splitlines()[-4:]
    assert all(line.startswith(start) for line, start in zip(told, listed, strict=True))

    evaluate = ("evaluate", tiny_run, "--root", empty_posts, "--json", scores)
    code, _, errors = mvcn(*evaluate, *blank)
    assert code == 0
    assert "3 posts were left out" in errors
    report = json.loads(scores.read_text())
    assert report["n"] == 1
    assert list(report["left_out"]) == ["b", "c", "d"]

    run = shutil.copytree(tiny_run, tmp_path / "run")  # which keeps features of its posts
    explain = ("explain", run, "--root", empty_posts, "--output", tmp_path / "why")
    code, _, errors = mvcn(*explain, "--post", "a", "--post", "b")
    assert code == 0
    assert "1 post was left out" in errors
    explained = json.loads((tmp_path / "why/explanation.json").read_text())["posts"]
    assert [one["id"] for one in explained] == ["a"]
    assert "nothing to explain" in fails(*explain, "--post", "c", "--overwrite")
    assert "neither text nor image" in fails("predict", tiny_run, "--text", " ")


def test_a_byte_of_the_command_line_that_is_not_utf8_is_read(mvcn, tiny_run):
    code, output, _ = mvcn("predict", tiny_run, "--text", os.fsdecode(b"caf\xe9 so happy"))
    assert (code, output) == mvcn("predict", tiny_run, "--text", "caf\ufffd so happy")[:2]
    assert code == 0


@pytest.mark.skipif(
    not Path("../shared/data/MVSA_Single").is_dir(), reason="the real posts are not here"
)
def test_contradictory_posts_of_the_real_data_are_named(fails, tiny_run, tmp_path):
    labels = Path("../shared/data/MVSA_Single/labelResultAll.txt").read_text().splitlines()
    contradictory = next(row.split("\t")[0] for row in labels if row.endswith("positive,negative"))
    ids = tmp_path / "ids.txt"
    ids.write_text(contradictory)
    arguments = ("--data", "mvsa-single", "--root", "../shared/data/MVSA_Single", "--ids", ids)
    assert contradictory in fails("evaluate", tiny_run, *arguments)


def test_training_names_what_it_does_not_use(mvcn, train_options, posts_table, tmp_path):
    parts = {"train": "training_set", "dev": "validation"}
    rows = [
        [f"{part}-{row['id']}", row["text"], "", row["label"], theirs]
        for part, theirs in parts.items()
        for row in read_csv(posts_table / part / "posts.csv")
    ]
    rows += [[f"extra-{n}", "words", "", "positive", "unlabeled"] for n in range(2)]
    rows += [[f"test-{n}", "words", "", "positive", "test_seen"] for n in range(3)]
    table = write_csv(tmp_path / "all.csv", rows, header=("id", "text", "image", "label", "split"))
    options = [table, *train_options[4:]]
    code, output, _ = mvcn("train", *options, "--output", tmp_path / "run")
    assert code == 0
    assert "Left out: 2 posts, in 'unlabeled', which is not train, dev or test." in output
    assert "Not used: 3 posts of the split test." in output
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["unused_splits"] == {"test": 3}


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl", ".parquet", ".xlsx"])
def test_predictions_are_the_same_in_every_format(
    mvcn, fails, tiny_run, posts_table, tmp_path, suffix
):
    dev, out = posts_table / "dev/posts.csv", tmp_path / f"out{suffix}"
    for path in (tmp_path / "out.csv", out):
        assert mvcn("predict", tiny_run, dev, "--output", path)[0] == 0
    rows = {
        ".tsv": lambda: list(csv.DictReader(out.read_text().splitlines(), delimiter="\t")),
        ".jsonl": lambda: [json.loads(line) for line in out.read_text().splitlines()],
        ".parquet": lambda: pq.read_table(out).to_pylist(),
        ".xlsx": lambda: pandas.read_excel(out, dtype={"id": str}).to_dict("records"),
    }[suffix]()
    expected = read_csv(tmp_path / "out.csv")
    names = list(expected[0])
    assert [list(row) for row in rows] == [names] * len(expected)
    for name in names:
        same = float if name.startswith("probability_") else str
        assert [same(row[name]) for row in rows] == [same(row[name]) for row in expected]
    before = out.read_bytes()
    assert "--overwrite" in fails("predict", tiny_run, dev, "--output", out)
    assert out.read_bytes() == before
    assert mvcn("predict", tiny_run, dev, "--output", out, "--overwrite")[0] == 0
    pq.write_table(pa.table({"id": ["1"], "label": ["mine"]}), tmp_path / "mine.parquet")
    mine = shutil.move(tmp_path / "mine.parquet", out)
    for option in ((), ("--overwrite",)):
        assert "is not a file of predictions" in fails(
            "predict", tiny_run, dev, "--output", mine, *option
        )


def test_a_format_that_is_not_known_is_refused_before_any_work(fails, tiny_run, tmp_path):
    output = tmp_path / "out.txt"
    sentence = fails("predict", tiny_run, tmp_path / "no.csv", "--output", output)
    assert "use a file that ends in .csv, .tsv, .jsonl, .ndjson, .parquet, .xlsx." in sentence


@pytest.mark.parametrize(
    "command",
    [("audit",), ("split", "--output", "x"), ("prepare", "--output", "x"), ("evaluate", "run")],
)
def test_posts_are_named_once(command, fails, posts_table, tmp_path, monkeypatch, tiny_run):
    monkeypatch.chdir(tmp_path)
    Path("run").symlink_to(tiny_run)
    posts = posts_table / "dev" / "posts.csv"
    assert f"Use either {posts} or --root {posts}, not both." in fails(
        *command, posts, "--root", posts
    )
    assert "No posts are named: add their file or folder" in fails(*command)
    assert not Path("x").exists()
