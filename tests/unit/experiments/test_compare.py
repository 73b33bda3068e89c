"""Rows of an experiment side by side: pooled folds, differences, words, tables."""

import csv
import io
import re

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from mvcn.errors import MvcnError
from mvcn.experiments.cell import CellResult
from mvcn.experiments.compare import compare
from mvcn.experiments.comparison_tables import (
    CAUTION,
    differences_table,
    published_table,
    render,
    scores_table,
    sentences,
)

LABELS = np.random.default_rng(5).choice(3, size=120, p=[0.5, 0.3, 0.2])
NEAR = np.arange(120) % 10 == 0


def cell(row, seed=0, *, right=0.6, fold=None, posts=slice(None), data="mine", digest="same"):
    """Return a cell whose predictions are right with the given probability."""
    generator = np.random.default_rng([seed, len(row), sum(map(ord, row))])
    guess = generator.integers(3, size=120)
    predicted = np.where(generator.random(120) < right, LABELS, guess)
    return CellResult(
        experiment="e",
        row=row,
        data=data,
        seed=seed,
        fold=fold,
        class_names=("a", "b", "c"),
        labels=LABELS[posts],
        predicted=predicted[posts],
        has_near_duplicate=NEAR[posts],
        posts_digest=digest,
        metrics={},
        settings={},
        seconds={"training": 10.0 + seed},
        environment={},
    )


def rows(*names, seeds=(0, 1, 2), **options):
    return [cell(name, seed, **options) for name in names for seed in seeds]


def test_scores_are_means_and_deviations_over_seeds():
    cells = rows("one")
    (results,) = compare(cells)
    (row,) = results.rows
    expected = [100 * f1_score(c.labels, c.predicted, average="weighted") for c in cells]
    assert row.spread("f1_weighted").mean == pytest.approx(np.mean(expected) / 100)
    assert row.spread("f1_weighted").deviation == pytest.approx(np.std(expected, ddof=1) / 100)
    fresh = [accuracy_score(c.labels[~NEAR], c.predicted[~NEAR]) for c in cells]
    assert row.spread("accuracy", fresh=True).mean == pytest.approx(np.mean(fresh))
    (shown,) = scores_table(results).rows
    assert shown[:2] == ["one", "3"]
    assert shown[3] == f"{np.mean(expected):.1f} ± {np.std(expected, ddof=1):.1f}"
    assert shown[-1] == "11"


def test_folds_of_a_seed_are_judged_together():
    parts = [slice(0, 50), slice(50, 90), slice(90, 120)]
    folds = [
        cell("one", fold=k, posts=part, digest=f"fold {k}")
        for k, part in reversed(list(enumerate(parts)))
    ]
    (pooled,), (whole,) = compare(folds), compare([cell("one")])
    assert (pooled.num_folds, pooled.num_posts) == (3, 120)
    for metric in ("accuracy", "f1_weighted", "f1_macro"):
        assert pooled.rows[0].scores(metric) == pytest.approx(whole.rows[0].scores(metric))
    assert pooled.rows[0].seconds.mean == 30  # three trainings of 10 s


def test_a_seed_that_lacks_a_fold_is_left_out_and_named():
    cells = [cell(row, fold=k, digest=f"{k}") for row in ("one", "two") for k in range(3)]
    (results,) = compare([*cells, cell("one", 1, fold=0, digest="0")])
    assert [row.seeds for row in results.rows] == [(0,), (0,)]
    assert "Left out, since folds lack: one, seed 1." in list(sentences(results))
    (nothing,) = compare([c for c in cells if (c.row, c.fold) != ("two", 2)])
    assert [row.name for row in nothing.rows] == ["one"]


def test_each_data_set_has_tables_of_its_own():
    found = compare([*rows("one"), *rows("one", data="theirs", digest="other")])
    assert [results.data for results in found] == ["mine", "theirs"]


def test_a_better_row_is_called_better_and_an_equal_one_noise():
    (results,) = compare(rows("plain", "other") + rows("good", right=0.95) + rows("bad", right=0.1))
    other, good, bad, note = sentences(results)
    assert other.startswith("other against plain: ")
    assert other.endswith("is within noise.")
    assert re.match(r"good is better than plain by \d\d\.\d points of weighted F1 \(95 % ", good)
    assert bad.startswith("bad is worse than plain by ")
    assert note.endswith("cannot give less than p = 0.250.")
    assert [c.baseline for c in results.comparisons] == ["plain"] * 3
    assert [c.seeds_p for c in results.comparisons][1:] == [0.25, 0.25]
    assert results.comparisons[1].posts_p < 0.001
    raw = [c.difference.p_value for c in results.comparisons]
    corrected = [c.corrected_p for c in results.comparisons]
    assert corrected[1] == pytest.approx(3 * raw[1])


def test_the_baseline_can_be_chosen():
    (results,) = compare(rows("plain", "good"), baseline="good")
    assert [(c.row, c.baseline) for c in results.comparisons] == [("plain", "good")]
    assert differences_table(results).rows[0][0] == "plain against good"


def test_rows_without_a_common_seed_have_no_test_over_seeds():
    (results,) = compare([cell("one", 0), cell("two", 1)])
    assert results.comparisons[0].seeds_p is None
    assert differences_table(results).rows[0][4] == "-"
    assert not any("over seeds" in sentence for sentence in sentences(results))


@pytest.mark.parametrize(
    ("cells", "baseline", "words"),
    [
        (rows("one", "two"), "three", "There is no row 'three': the rows are one, two."),
        ([cell("one"), cell("two", digest="else")], None, "'two' with seed 0 judges other posts"),
        ([cell("one"), cell("one", fold=0)], None, "mix folds and a fixed split"),
    ],
)
def test_what_cannot_be_compared_is_an_error(cells, baseline, words):
    with pytest.raises(MvcnError, match=words):
        compare(cells, baseline)


def test_csv_holds_every_seed_with_all_digits():
    cells = rows("one", "two")
    read = list(csv.DictReader(io.StringIO(render(compare(cells), "csv"))))
    assert [(row["row"], row["seed"]) for row in read] == [(c.row, str(c.seed)) for c in cells]
    for row, c in zip(read, cells, strict=True):
        assert float(row["accuracy"]) == accuracy_score(c.labels, c.predicted)


def test_markdown_has_a_cell_for_each_column():
    text = render(compare(rows("one", "two")), "markdown")
    tables = [line for line in text.splitlines() if line.startswith("|")]
    widths = [line.count("|") for line in tables]
    assert len(tables) == 4 + 3
    assert set(widths[:4]) == {8}
    assert set(widths[4:]) == {7}


def test_latex_escapes_what_means_something_to_it():
    text = render(compare(rows("a_b", "c_d")), "latex")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    assert r"a\_b & 3 & " in text
    assert r" $\pm$ " in text
    assert r"95 \% interval" in text
    assert not re.search(r"(?<!\\)[%_#±]", text)


def test_published_numbers_come_with_split_and_convention():
    table = published_table("mvsa-single")
    assert ["MVCN", "76.06", "74.55"] in table.rows
    assert table.header == ["published (3611 / 450 / 450, test part)", "accuracy", "weighted F1"]
    assert published_table("mine") is None
    text = render(compare(rows("one", data="mvsa-single")), "markdown")
    assert text.endswith(f"{CAUTION}\n")
    assert CAUTION not in render(compare(rows("one")), "markdown")
