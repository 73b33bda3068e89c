"""What `mvcn audit` finds of faults that were planted one by one, and on the real posts."""

import csv
import json
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from mvcn.audit.kinds import KINDS
from mvcn.cli import app
from mvcn.data.splits import write_splits
from mvcn.data.synthetic import generate_posts
from mvcn.data.table import read_table
from mvcn.errors import ConfigError, MvcnError, RunError

REAL_MVSA_SINGLE = Path("../shared/data/MVSA_Single")
SCRIPT = "<script>alert(1)</script> & a wonderful walk"
NAMES = ("text", "similar", "copy", "scaled", "blank", "cut", "missing", "garbled", "conflict")
NAMES += ("tiny", "empty", "odd")
CLEAN = 60
"""Posts without a fault."""


def run(*arguments):
    return CliRunner().invoke(app, ["audit", *map(str, arguments)])


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Table of posts that hold each fault once, with the ids of the faulty ones."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "images").mkdir()
    posts = [one.post for one in generate_posts(CLEAN + len(NAMES), seed=1)]
    images = {post.id: post.image for post in posts}
    texts = {post.id: post.text for post in posts}
    labels = {post.id: post.label for post in posts}
    base = [post.id for post in posts[:CLEAN]]
    extra = [post.id for post in posts[CLEAN:]]
    text, similar, copy, scaled, blank, cut, missing, garbled, conflict, tiny, empty, odd = extra
    texts[text] = f"{texts[base[0]].upper()} http://t.co/abc"
    texts[base[1]] = (
        "we all walked along the river to the old mill, and it was a lovely sunny morning"
    )
    texts[similar] = f"RT {texts[base[1]]}!!"
    images[copy] = images[base[2]]
    images[scaled] = compressed(images[base[3]], 180, 60)
    images[blank] = compressed(Image.new("RGB", (200, 200), "teal"), 200, 90)
    images[cut] = images[cut][:2000]
    texts[garbled] = "Sch\u00f6ne Gr\u00fc\u00dfe aus K\u00f6ln".encode().decode("latin-1")
    texts[conflict], images[conflict] = texts[base[4]], images[base[4]]
    labels[conflict] = next(n for n in ("positive", "negative") if n != labels[base[4]])
    images[tiny] = compressed(images[tiny], 20, 90)
    texts[empty], texts[odd] = " ", SCRIPT
    rows = []
    for i, post in enumerate(posts):
        if post.id != missing:
            (folder / f"images/{post.id}").write_bytes(images[post.id])
        split = "dev" if post.id in (*base[5:15], text, copy, scaled) else "train"
        rows.append([i, texts[post.id], f"images/{post.id}", labels[post.id], split])
    with (folder / "posts.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "text", "image", "label", "split"], *rows])
    return folder / "posts.csv"


def compressed(image, side, quality):
    picture = image if isinstance(image, Image.Image) else Image.open(BytesIO(image))
    picture.convert("RGB").resize((side, side)).save(stream := BytesIO(), "JPEG", quality=quality)
    return stream.getvalue()


@pytest.fixture(scope="module")
def reports(planted, tmp_path_factory):
    """JSON report, page and output of the planted posts."""
    folder = tmp_path_factory.mktemp("reports")
    result = run("--root", planted, "--json", folder / "a.json", "--html", folder / "a.html")
    assert result.exit_code == 0, result.exception
    report = json.loads((folder / "a.json").read_text("utf-8"))
    return report, (folder / "a.html").read_text("utf-8"), result.output


def test_everyone_can_read_the_page(reports, tmp_path, readable):
    _, page, _ = reports
    (tmp_path / "audit.html").write_text(page, "utf-8")
    readable(tmp_path / "audit.html")


def test_the_page_says_first_what_to_repair(reports):
    report, page, _ = reports
    (first,) = re.findall(r'<p class="worth">([^<]+)</p>', page)
    for kind, about in KINDS.items():
        found = report[kind]
        said = f"{about.title.lower()} ({found['count']:,})" in first
        assert said == (found["count"] > 0 and found["severity"] in ("error", "warning"))
    assert first.index("Repair ") < first.index("then look at ")


def test_exactly_the_planted_faults_are_found(reports):
    report, *_ = reports
    at = {n: str(CLEAN + i) for i, n in enumerate(NAMES)}
    assert report["duplicates"]["equal_text"] == [["0", at["text"]], ["4", at["conflict"]]]
    assert report["duplicates"]["similar_text"] == [
        ["0", at["text"]],
        ["1", at["similar"]],
        ["4", at["conflict"]],
    ]
    assert report["duplicates"]["equal_image"] == [["2", at["copy"]], ["4", at["conflict"]]]
    assert report["duplicates"]["similar_image"] == [
        ["2", at["copy"]],
        ["3", at["scaled"]],
        ["4", at["conflict"]],
    ]
    assert report["leakage"]["affected_ids"] == {
        "train-dev": [at["text"], at["copy"], at["scaled"]]
    }
    (conflict,) = report["conflicting_labels"]["text_and_image"]
    assert list(conflict) == ["4", at["conflict"]]
    images = report["images"]
    assert [images[k] for k in ("blank", "broken", "missing", "tiny", "extreme_aspect_ratio")] == [
        [at["blank"]],
        [at["cut"]],
        [at["missing"]],
        [at["tiny"]],
        [],
    ]
    (garbled,) = report["mojibake"]["garbled"]
    assert (garbled["id"], garbled["fixed"]) == (
        at["garbled"],
        "Sch\u00f6ne Gr\u00fc\u00dfe aus K\u00f6ln",
    )
    assert report["texts"]["empty"] == [at["empty"]]
    assert report["texts"]["count"] == 1
    assert report["label_order"]["count"] == 0


def test_every_kind_is_in_every_report(reports):
    report, page, output = reports
    assert list(report)[2:] == list(KINDS)
    for kind, about in KINDS.items():
        assert report[kind]["explanation"] == about.explanation
        assert about.title in page
        assert about.title in output
    assert f"{CLEAN + 12} posts" in output
    assert report["label_errors"]["searched"] is False
    assert "Suspected label errors were not searched: add --label-errors." in output
    named = re.findall(r"^(error|warning|information) +[\d,]+  ", output, re.MULTILINE)
    assert named == sorted(named, key=["error", "warning", "information"].index)
    assert re.search(r"^Nothing found: .*Splits in the order of their labels", output, re.MULTILINE)
    assert "<p>Suspected label errors were not searched: add --label-errors.</p>" in page


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.headings, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))


def test_the_page_needs_no_other_file_and_shows_markup_as_text(reports):
    *_, text, _ = reports
    page = Page(text)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe")]
    sources = [about["src"] for tag, about in page.tags if tag == "img"]
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "url(" not in text
    assert "@import" not in text
    assert [about["href"][0] for tag, about in page.tags if tag == "a"] == ["#"] * sum(
        tag == "a" for tag, _ in page.tags
    )
    assert all(about["alt"] for tag, about in page.tags if tag == "img")
    steps = zip(page.headings, page.headings[1:], strict=False)
    assert page.headings[0] == 1
    assert all(after <= before + 1 for before, after in steps)


def write_rows(path, rows, header=("text", "label")):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_markup_in_texts_labels_and_words_stays_text(tmp_path):
    rows = [(SCRIPT, label) for label in ("<b>a</b>", "<i>b</i>") for _ in range(3)]
    table = write_rows(tmp_path / "posts.csv", rows)
    assert run("--root", table, "--html", tmp_path / "a.html").exit_code == 0
    page = (tmp_path / "a.html").read_text("utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; a wonderful walk" in page
    assert not {"script", "b", "i"} & {tag for tag, _ in Page(page).tags}


def test_the_page_limits_itself_and_says_so(tmp_path):
    rows = [("", "a")] * 40 + [(f"a text of words {i}", "b") for i in range(40)]
    table = write_rows(tmp_path / "posts.csv", rows)
    run("--root", table, "--html", tmp_path / "a.html", "--json", tmp_path / "a.json")
    page = (tmp_path / "a.html").read_text("utf-8")
    assert "And 16 more, which <code>mvcn audit --json FILE</code> lists." in page
    assert len(json.loads((tmp_path / "a.json").read_text())["texts"]["empty"]) == 40


def test_two_sources_are_two_splits(tmp_path):
    train = write_rows(tmp_path / "a.csv", [("the very same words", "a"), ("others", "b")])
    dev = write_rows(tmp_path / "b.csv", [("The very same words", "a"), ("new ones", "c")])
    result = run("--train", train, "--dev", dev, "--json", tmp_path / "a.json")
    assert result.exit_code == 0
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["leakage"]["affected_ids"] == {"train-dev": ["dev:1"]}
    assert report["counts"]["classes"]["dev"] == {"a": 1, "b": 0, "c": 1}
    assert report["leakage"]["same_id"] == []


def test_id_files_are_splits_and_an_id_in_two_of_them_leaks(tmp_path):
    table = write_rows(tmp_path / "a.csv", [(f"words of {i}", "a") for i in range(4)])
    (tmp_path / "train.txt").write_text("1\n2\n")
    (tmp_path / "test.txt").write_text("2\n4\n")
    run("--root", table, "--splits", tmp_path, "--json", tmp_path / "a.json")
    leakage = json.loads((tmp_path / "a.json").read_text())["leakage"]
    assert leakage["affected_ids"] == {"train-test": ["2"]}
    assert leakage["same_id"] == [[{"id": "2", "split": "train"}, {"id": "2", "split": "test"}]]


def test_splits_of_other_posts_are_refused(tmp_path):
    table = write_rows(tmp_path / "a.csv", [(f"words of {i}", "ab"[i % 2]) for i in range(20)])
    posts = read_table(table).posts
    write_splits(tmp_path / "splits", {"train": posts[:16], "dev": posts[16:]}, posts, {})
    assert run("--root", table, "--splits", tmp_path / "splits").exit_code == 0
    write_rows(table, [(f"other words of {i}", "ab"[i % 2]) for i in range(20)])
    told = fails(MvcnError, "--root", table, "--splits", tmp_path / "splits")
    assert "made for other posts" in told


def test_the_console_names_missing_parts_and_the_few_broken_images(tmp_path):
    rows = [("words", "none.png", "a"), ("more words", "", ""), ("", "", "b")]
    table = write_rows(tmp_path / "a.csv", rows, ("text", "image", "label"))
    output = run("--root", table).output
    assert "3 posts\nWithout label: 1, text: 1, image: 2.\n" in output
    assert "[images]: 1 missing (1)" in output


def test_fail_on_ends_with_1_and_says_what_was_found(tmp_path):
    table = write_rows(tmp_path / "a.csv", [("the same", "a"), ("the same", "b")])
    result = run("--root", table, "--fail-on", "duplicates", "--fail-on", "images")
    assert result.exit_code == 1
    assert "found duplicates." in result.output
    assert run("--root", table, "--fail-on", "images").exit_code == 0


def fails(error, *arguments):
    result = run(*arguments)
    assert isinstance(result.exception, error)
    assert isinstance(result.exception, MvcnError)
    return str(result.exception)


def test_faulty_options_are_named(tmp_path):
    table = write_rows(tmp_path / "a.csv", [("one", "a"), ("two", "b")])
    unknown = fails(ConfigError, "--root", table, "--fail-on", "ducks")
    assert all(kind in unknown for kind in ("ducks", *KINDS))
    assert "--label-errors" in fails(ConfigError, "--root", table, "--fail-on", "label_errors")
    assert "--root" in fails(ConfigError)
    assert "not both" in fails(ConfigError, "--root", table, "--train", table)
    assert "dev.txt" in fails(MvcnError, "--root", table, "--splits", tmp_path)


def test_only_reports_are_replaced(tmp_path):
    table = write_rows(tmp_path / "a.csv", [("one", "a"), ("two", "b")])
    before = table.read_bytes()
    for option in ("--json", "--html"):
        assert "is not a report" in fails(RunError, "--root", table, option, table)
        report = tmp_path / "report"
        assert run("--root", table, option, report).exit_code == 0
        assert run("--root", table, option, report).exit_code == 0
        assert "does not exist: create it first" in fails(
            RunError, "--root", table, option, tmp_path / "x" / "y"
        )
        assert "is a folder" in fails(RunError, "--root", table, option, tmp_path)
    assert table.read_bytes() == before
    same = fails(ConfigError, "--root", table, "--json", report, "--html", report)
    assert "both point to" in same


@pytest.mark.skipif(not REAL_MVSA_SINGLE.is_dir(), reason="the real posts are not here")
def test_files_sorted_by_label_are_found_in_the_real_data(tmp_path):
    folder, images = REAL_MVSA_SINGLE / "splits/clmlf_format", tmp_path / "none"
    if not folder.is_dir():
        pytest.skip("the published lists are not here")
    images.mkdir()
    options = ("--data", "clmlf-json", "--root", folder, "--images", images)
    assert run(*options, "--json", tmp_path / "a.json").exit_code == 0
    report = json.loads((tmp_path / "a.json").read_text("utf-8"))
    lists = {
        split: json.loads((folder / f"{split}.json").read_text()) for split in ("train", "dev")
    }
    for split, entries in lists.items():
        labels = [entry["emotion_label"] for entry in entries]
        found = report["label_order"]["splits"][split]
        assert found["ordered"]
        assert found["runs"] == 1 + sum(labels[i] != labels[i - 1] for i in range(1, len(labels)))
    plain = {
        split: [" ".join(re.sub(r"https?:\S*", "", entry["text"]).lower().split()) for entry in one]
        for split, one in lists.items()
    }
    shared = [text for text in plain["dev"] if text and text in set(plain["train"])]
    assert report["leakage"]["affected"]["train-dev"]["equal_text"] == len(shared)
    assert report["images"]["count"] == sum(map(len, lists.values()))
