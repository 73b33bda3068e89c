"""Images that are named wrongly, in every command: told together, and never a reason to stop."""

import csv
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mvcn.data.datasets.prepared import read_prepared
from mvcn.data.table import read_table
from mvcn.inference.bulk import job
from mvcn.inference.bulk.job import predict_in_bulk
from mvcn.inference.bulk.workers import Scoring, attempt
from mvcn.inference.classifier import Classifier

ADDRESS = "https://example.org/pictures/1.jpg"
BAD = {
    "address": ADDRESS,
    "above": "../secret.png",
    "elsewhere": "/etc/hostname",
    "nowhere": "images/nowhere.png",
    "windows": "C:\\pictures\\1.jpg",
    "loop": "loop.png",
    "broken": "broken.png",
    "base64": "data:image/png;base64,?",
    **{f"gone-{number}": f"gone/{number}.png" for number in range(4)},
}


@pytest.fixture(scope="module")
def folder(posts_table, tmp_path_factory):
    """The 16 dev posts, under names that people write, and 12 posts with bad images."""
    folder = tmp_path_factory.mktemp("faults") / "data"
    shutil.copytree(posts_table / "dev", folder)
    (folder.parent / "secret.png").write_bytes(next((folder / "images").iterdir()).read_bytes())
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "broken.png").symlink_to("gone.png")
    with (folder / "posts.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    changes = ("images\\{}", "/images/{}", "data/images/{}", "./IMAGES/{}")
    for number, row in enumerate(rows):
        row["image"] = changes[number % 4].format(row["image"].rpartition("/")[2])
    classes = [row["label"] for row in rows]
    for number, (post_id, image) in enumerate(BAD.items()):
        label = classes[number % len(classes)]
        rows.append({"id": post_id, "text": f"post {post_id}", "image": image, "label": label})
    kept = [{name: row[name] for name in ("id", "text", "image", "label")} for row in rows]
    with (folder / "posts.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(kept[0]))
        writer.writeheader()
        writer.writerows(kept)
    pq.write_table(pa.Table.from_pylist(kept), folder / "posts.parquet")
    return folder


@pytest.fixture
def table(folder):
    return folder / "posts.csv"


def require_all_told(sentence):
    assert "12 images cannot be read" in sentence
    assert "\n  and 2 more.\n" in sentence
    assert all(f"post {post_id!r}:" in sentence for post_id in list(BAD)[:10])
    assert "--images FOLDER" in sentence
    assert "--on-bad-image blank" in sentence
    assert "img2dataset" in sentence


def test_all_are_told_before_any_work(fails, tiny_run, table, tmp_path):
    out = ("--output", tmp_path / "out")
    require_all_told(fails("predict", tiny_run, table, "--output", tmp_path / "out.csv"))
    require_all_told(fails("evaluate", tiny_run, "--root", table))
    require_all_told(fails("prepare", "--root", table, *out))
    require_all_told(fails("train", "--train", table, "--dev", table, *out))
    assert not (tmp_path / "out").exists()


def test_prediction_goes_on_without_them(mvcn, tiny_run, table, posts_table, tmp_path):
    command = ("predict", tiny_run, table, "--output", tmp_path / "out.csv")
    code, _, errors = mvcn(*command, "--on-bad-image", "blank")
    assert code == 0
    assert "12 images" in errors
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    classifier = Classifier.from_pretrained(tiny_run)
    expected = list(classifier.predict(read_table(posts_table / "dev/posts.csv").posts))
    expected += [classifier.predict_one(f"post {post_id}") for post_id in BAD]
    assert [row["predicted_label"] for row in rows] == [one.label for one in expected]
    for row, one in zip(rows, expected, strict=True):
        for name, probability in one.probabilities.items():
            assert float(row[f"probability_{name}"]) == pytest.approx(probability, 1e-5)


def test_evaluation_and_preparation_leave_them_out(mvcn, tiny_run, table, tmp_path):
    scores = tmp_path / "scores.json"
    drop = ("--on-bad-image", "drop")
    assert mvcn("evaluate", tiny_run, "--root", table, "--json", scores, *drop)[0] == 0
    report = json.loads(scores.read_text())
    assert report["n"] == 16
    assert list(report["bad_images"]["posts"]) == list(BAD)
    assert mvcn("prepare", "--root", table, "--output", tmp_path / "out", *drop)[0] == 0
    corpus = read_prepared(tmp_path / "out")
    assert corpus.removed["with a bad image"] == tuple(BAD)
    assert [post.image is not None for post in corpus.posts] == [True] * 16


def test_an_audit_lists_them(mvcn, table, tmp_path):
    code, output, _ = mvcn("audit", "--root", table, "--json", tmp_path / "audit.json")
    assert code == 0
    assert "28 posts" in output
    report = json.loads((tmp_path / "audit.json").read_text())
    found = report["images"]
    assert found["missing"] == list(BAD)
    assert ADDRESS in found["reasons"]["address"]
    assert "outside" in found["reasons"]["above"]


def test_a_split_deals_them_out(mvcn, table, tmp_path):
    code, _, errors = mvcn("split", "--root", table, "--output", tmp_path / "splits")
    assert code == 0
    assert "12 images could not be read" in errors
    dealt = [path.read_text().split() for path in (tmp_path / "splits").glob("*.txt")]
    assert set(BAD) <= {post_id for part in dealt for post_id in part}


def test_an_explanation_goes_without_one(mvcn, fails, tiny_run, table, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    command = ("explain", run, "--root", table, "--output", tmp_path / "out", "--post", "address")
    assert "is a web address" in fails(*command)
    assert mvcn(*command, "--on-bad-image", "blank")[0] == 0
    (post,) = json.loads((tmp_path / "out/explanation.json").read_text())["posts"]
    assert post["image"] is None


def test_a_job_puts_them_into_its_table_of_errors(tiny_run, folder, tmp_path, monkeypatch):
    def here(scoring, shards, jobs, prepare):
        for shard in shards:
            yield attempt(scoring, shard)

    monkeypatch.setitem(job.ENGINES, "local", here)
    place = str(folder / "posts.parquet")
    scoring = Scoring(tiny_run, tmp_path / "job")
    done = predict_in_bulk(scoring, [place], "local", initializer=lambda: None)
    assert (done.predictions, done.errors) == (16, 12)
    (errors,) = (tmp_path / "job/errors").iterdir()
    reasons = {row["id"]: row["reason"] for row in pq.read_table(errors).to_pylist()}
    assert list(reasons) == list(BAD)
    assert "is a web address" in reasons["address"]
    assert "is outside" in reasons["elsewhere"]
    scoring = Scoring(tiny_run, tmp_path / "texts", text_only=True)
    done = predict_in_bulk(scoring, [place], "local", initializer=lambda: None)
    assert (done.predictions, done.errors) == (28, 0)


def test_texts_alone_can_be_worked_on_everywhere(mvcn, fails, tiny_run, table, tmp_path):
    posts = ("--root", table, "--text-only")
    commands = {
        "predict": ("predict", tiny_run, table, "--text-only", "--output", tmp_path / "out.csv"),
        "evaluate": ("evaluate", tiny_run, *posts, "--json", tmp_path / "scores.json"),
        "prepare": ("prepare", *posts, "--output", tmp_path / "prepared"),
        "audit": ("audit", *posts, "--json", tmp_path / "audit.json"),
        "split": ("split", *posts, "--output", tmp_path / "splits"),
    }
    for name, command in commands.items():
        code, _, errors = mvcn(*command)
        assert code == 0, name
        assert "could not be read" not in errors
    assert json.loads((tmp_path / "scores.json").read_text())["n"] == 28
    assert [p.image for p in read_prepared(tmp_path / "prepared").posts] == [None] * 28
    picture = next((table.parent / "images").iterdir())
    one = ("predict", tiny_run, "--text", "a day", "--image", picture, "--text-only")
    assert "either --image or --text-only" in fails(*one)


@pytest.fixture
def lost(posts_table, tmp_path):
    """The training posts without their images."""
    shutil.copy(posts_table / "train/posts.csv", tmp_path / "posts.csv")
    return tmp_path / "posts.csv"


def test_training_without_any_image_must_be_asked_for(mvcn, fails, tiny_options, lost, tmp_path):
    command = ("train", "--train", lost, *tiny_options, "--output", tmp_path / "run")
    sentence = fails(*command)
    assert "--text-only" in sentence
    assert "--images FOLDER" in sentence
    sentence = fails(*command, "--on-bad-image", "blank")
    assert sentence.startswith("Error: None of the 32 images can be found")
    assert "--text-only" in sentence
    code, _, errors = mvcn(*command, "--text-only")
    assert code == 0, errors
    config = (tmp_path / "run/config.yaml").read_text()
    assert "text_only: true" in config
