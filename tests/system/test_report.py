"""``mvcn report``: a self-contained page, also shown on a phone."""

import re
import shutil
import subprocess

import pytest

SECTIONS = (
    "Compared with baselines",
    "Scores",
    "Confusion matrix",
    "Scores by slice",
    "Calibration",
    "Training",
    "Feature space",
    "Most confident correct predictions",
    "Largest errors",
    "Suspected label errors",
    "How the numbers were made",
    "Environment",
)
PHONE = "390,844"
MEASURE = """<script>document.title = document.documentElement.scrollWidth + " " +
  [...document.images].filter(i => i.naturalWidth > 0).length + " " +
  document.images.length</script></body>"""


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
    assert [title for title in SECTIONS if f">{title}<" not in text] == []
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
    assert text.count("--precision 0.9<") == 1
    assert "not sure to be reached on 16 posts" in text


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


@pytest.mark.parametrize(
    ("title", "shown", "hidden"),
    [
        ("Most confident correct predictions", "right", "wrong"),
        ("Largest errors", "wrong", "right"),
    ],
)
def test_correct_predictions_and_errors_are_shown_apart(page, title, shown, hidden):
    section = page.read_text("utf-8").partition(f">{title}<")[2].partition("</section>")[0]
    assert f'<span class="{shown}">' in section
    assert f'<span class="{hidden}">' not in section


def test_scores_are_those_of_the_run(page, run):
    import json

    dev = json.loads((run / "metrics.json").read_text())["dev"]
    text = page.read_text("utf-8")
    for name in ("accuracy", "f1_weighted", "f1_macro", "negative_log_likelihood"):
        assert f">{dev[name]:.3f}<" in text
    for row in dev["confusion_matrix"]:
        for count in row:
            assert re.search(rf">{count} <span", text)


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


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("window", [PHONE, "1280,900"])
def test_a_browser_shows_all_pictures_and_nothing_sticks_out(page, window, tmp_path):
    measured = tmp_path / "measured.html"
    measured.write_text(page.read_text("utf-8").replace("</body>", MEASURE), "utf-8")
    command = [
        "chromium",
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={window}",
        *("--dump-dom", measured.as_uri()),
    ]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    width, loaded, images = map(int, re.search(r"<title>(\d+) (\d+) (\d+)</title>", dom).groups())
    assert loaded == images > 6
    # Headless Chromium makes no window narrower than 500 pixels.
    assert width <= max(500, int(window.split(",")[0]))
