"""``mvcn report``: a self-contained page, also shown on a phone."""

import csv
import html
import re
import shutil

import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from mvcn.data.table import read_table

SECTIONS = (
    "What to do next",
    "Compared with baselines",
    "Scores",
    "Confusion matrix",
    "Scores by slice",
    "Calibration",
    "Abstaining",
    "Most confident correct predictions",
    "Largest errors",
    "Suspected label errors",
    "Training",
    "Feature space",
    "How the numbers were made",
    "Environment",
)


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    """A copy: reports keep features in the run folder."""
    return shutil.copytree(tiny_run, tmp_path_factory.mktemp("runs") / "my-run")


@pytest.fixture(scope="module")
def written():
    """Holds the page once the first test has had it written."""
    return {}


@pytest.fixture
def page(mvcn, run, tmp_path, written):
    path = tmp_path / "report.html"
    if not written:
        code, output, _ = mvcn("report", run, "--output", path)
        assert code == 0
        assert "report.html" in output
        written["page"] = path.read_bytes()
    path.write_bytes(written["page"])
    return path


def test_the_page_has_everything_and_asks_no_host(page, run):
    text = page.read_text("utf-8")
    titles = re.findall(r"<h2[^>]*>([^<]+)<", text)
    assert tuple(titles) == SECTIONS
    (contents,) = re.findall(r"<nav.*</nav>", text)
    assert re.findall(r">([^<]+)</a>", contents) == titles
    assert "my-run" in text
    assert "Texts are read up to 64 word pieces. Of the train texts, 0 of 32 are longer" in text
    assert "Of the dev texts, 0 of 16 are longer, and 0.0 % of the word pieces" in text
    asked = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!#|data:)[^"'\s>]+""", text)
    assert asked == []
    assert text.count("data:image/jpeg") >= 6
    for part in ("cross entropy", "congruity", "dev loss"):
        assert part in text


def test_each_number_leads_to_the_sentence_that_says_how_it_was_made(page):
    text = page.read_text("utf-8")
    sentences = dict(re.findall(r'<dt id="how-([a-z0-9]+)">[^<]+</dt><dd>([^<]+)</dd>', text))
    linked = set(re.findall(r'href="#how-([a-z0-9]+)"', text))
    assert linked <= sentences.keys()
    assert {"accuracy", "f1", "interval", "gain", "calibration", "precision", "area"} <= linked
    for name in ("accuracy", "f1", "calibration", "likelihood", "temperature", "precision"):
        assert "16 dev posts" in sentences[name]
    assert "cannot be promised: 16 posts are too few" in text


def test_a_fitted_model_has_a_report_without_curves_of_training(
    mvcn, tiny_options, posts_table, tmp_path
):
    chosen = [*tiny_options, "--set", "model.frozen_text_layers=all"]
    posts, run = posts_table / "train" / "posts.csv", tmp_path / "run"
    code, _, _ = mvcn("train", posts, *chosen, "--model", "logreg", "--output", run)
    assert code == 0
    assert mvcn("report", run, "--output", tmp_path / "report.html")[0] == 0
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "Compared with baselines" in text
    assert "Losses over the epochs" not in text


def test_a_run_of_members_is_judged_out_of_fold(mvcn, tiny_ensemble, tmp_path, readable):
    run = shutil.copytree(tiny_ensemble, tmp_path / "run")
    assert mvcn("report", run, "--output", tmp_path / "report.html")[0] == 0
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "of 32 posts that it was not trained on" in text
    assert "each predicted by the one of 2 members that was not trained on it" in text
    assert '<h2 id="more-posts">Learning curve</h2>' in text
    readable(tmp_path / "report.html")


@pytest.mark.parametrize(
    ("title", "shown", "hidden"),
    [
        ("Most confident correct predictions", "right", "wrong"),
        ("Largest errors", "wrong", "right"),
    ],
)
def test_correct_predictions_and_errors_are_shown_apart(page, title, shown, hidden):
    section = page.read_text("utf-8").partition(f">{title}</h2>")[2].partition("</section>")[0]
    assert f'<span class="{shown}">' in section
    assert f'<span class="{hidden}">' not in section


def test_similar_training_posts_have_text_label_and_image(page, posts_table):
    near = (
        r'<div class="small"><div><img src="data:image/jpeg[^"]+" alt="Image of post [^"]+"></div>'
        r'<div><strong>([^<]+)</strong> <span class="soft">\(([^)]+)\)</span> ([^<]+)</div></div>'
    )
    shown = re.findall(near, page.read_text("utf-8"))
    train = {post.id: post for post in read_table(posts_table / "train" / "posts.csv").posts}
    assert len(shown) >= 3
    for label, post_id, text in shown:
        assert (label, html.unescape(text)) == (train[post_id].label, train[post_id].text.strip())


def test_scores_are_those_of_the_predictions(page, run):
    with (run / "dev_predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels, predicted = ([row[name] for row in rows] for name in ("label", "predicted"))
    names = sorted({*labels, *predicted})
    text = page.read_text("utf-8")
    shown = dict(re.findall(r'<a href="#how-[a-z0-9]+">([^<]+)</a></th><td[^>]+>([\d.]+)<', text))
    expected = {
        "accuracy": accuracy_score(labels, predicted),
        "weighted F1": f1_score(labels, predicted, average="weighted"),
        "macro F1": f1_score(labels, predicted, average="macro"),
    }
    assert {name: shown[name] for name in expected} == {
        name: f"{100 * value:.0f}" for name, value in expected.items()
    }
    matrix = text.partition('<h2 id="confusion">')[2].partition("</section>")[0]
    counts = [int(count) for count in re.findall(r"(\d+) \(\d+\s%\)</td>", matrix)]
    assert counts == confusion_matrix(labels, predicted, labels=names).ravel().tolist()
    right = sum(one == other for one, other in zip(labels, predicted, strict=True))
    assert f"right on {100 * right / 16:.0f} % of 16 posts that it was not trained on" in text
    assert f"The model is wrong on {16 - right} of 16 posts." in text


def test_an_earlier_report_is_replaced_and_another_file_is_not(mvcn, fails, run, page, tmp_path):
    assert mvcn("report", run, "--output", page)[0] == 0
    (tmp_path / "diary.html").write_text("mine")
    assert "is not a report of mvcn report" in fails(
        "report", run, "--output", tmp_path / "diary.html"
    )
    assert (tmp_path / "diary.html").read_text() == "mine"
    assert "is not a run folder" in fails("report", tmp_path, "--output", tmp_path / "new.html")
    assert not (tmp_path / "new.html").exists()


def test_texts_cannot_bring_markup_into_the_page(mvcn, run, posts_table, tmp_path):
    moved = shutil.copytree(posts_table, tmp_path / "posts")
    table = moved / "dev/posts.csv"
    lines = table.read_text("utf-8").splitlines(keepends=True)
    head = lines[0].rstrip("\n").split(",").index("text")
    cells = lines[1].split(",")
    cells[head] = "<script>alert(1)</script> hello"
    table.write_text("".join([lines[0], ",".join(cells), *lines[2:]]), "utf-8")
    other = shutil.copytree(run, tmp_path / "other")
    config = other / "config.yaml"
    config.write_text(config.read_text().replace(str(posts_table), str(moved)))
    assert mvcn("report", other, "--output", tmp_path / "report.html")[0] == 0
    assert "<script" not in (tmp_path / "report.html").read_text("utf-8")


def test_everyone_can_read_the_page(page, readable):
    readable(page)
