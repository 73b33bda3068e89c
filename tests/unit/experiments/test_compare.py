"""Variants of an experiment side by side: pooled folds, differences, words, tables."""

import csv
import dataclasses
import io
import re

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from mvcn.errors import MvcnError
from mvcn.evaluation.significance import MAX_EXACT_SEEDS
from mvcn.experiments.compare import compare
from mvcn.experiments.comparison_tables import (
    CAUTION,
    CAUTION_ABOUT_TEST,
    differences_table,
    published_table,
    render,
    scores_table,
    sentences,
)
from mvcn.experiments.results import CellResult

LABELS = np.random.default_rng(5).choice(3, size=120, p=[0.5, 0.3, 0.2])
NEAR = np.arange(120) % 10 == 0


def cell(
    variant, seed=0, *, right=0.6, fold=None, posts=slice(None), data="mine", digest="same", **more
):
    """Return a cell whose predictions are right with the given probability."""
    generator = np.random.default_rng([seed, len(variant), sum(map(ord, variant))])
    guess = generator.integers(3, size=120)
    predicted = np.where(generator.random(120) < right, LABELS, guess)
    probabilities = (np.eye(3)[predicted] + 1 + generator.random((120, 3)) / 2) / 5
    made = CellResult(
        experiment="e",
        variant=variant,
        data=data,
        seed=seed,
        fold=fold,
        class_names=("a", "b", "c"),
        labels=LABELS[posts],
        predicted=predicted[posts],
        probabilities=probabilities[posts],
        has_near_duplicate=NEAR[posts],
        posts_digest=digest,
        metrics={},
        settings={},
        seconds={"training": 99.0},
        processor_seconds=10.0 + seed,
        environment={},
    )
    return dataclasses.replace(made, **more)


def published(variant, folds=(1, 2, 3), **options):
    """Return a cell for each published fold, of 40 test posts."""
    return [
        cell(
            variant,
            fold=k,
            posts=slice(40 * (k - 1), 40 * k),
            digest=f"fold {k}",
            split="test",
            **options,
        )
        for k in folds
    ]


def grid(*names, seeds=(0, 1, 2), **options):
    return [cell(name, seed, **options) for name in names for seed in seeds]


def test_scores_are_means_and_deviations_over_seeds():
    cells = grid("one")
    (results,) = compare(cells)
    (variant,) = results.variants
    expected = [100 * f1_score(c.labels, c.predicted, average="weighted") for c in cells]
    assert variant.spread("f1_weighted").mean == pytest.approx(np.mean(expected) / 100)
    assert variant.spread("f1_weighted").deviation == pytest.approx(np.std(expected, ddof=1) / 100)
    without = [accuracy_score(c.labels[~NEAR], c.predicted[~NEAR]) for c in cells]
    assert variant.spread("accuracy", near_duplicates=False).mean == pytest.approx(np.mean(without))
    (shown,) = scores_table(results).rows
    assert shown[:2] == ["one", "3"]
    assert shown[3] == f"{np.mean(expected):.1f} ± {np.std(expected, ddof=1):.1f}"
    assert shown[-1] == "11"


def test_a_variant_that_always_predicts_the_same_class_is_said_to_have_learned_nothing():
    cells = grid("good", "bad")
    cells[4] = dataclasses.replace(cells[4], predicted=np.ones_like(LABELS))
    (results,) = compare(cells)
    (found,) = [one for one in sentences(results) if "learned nothing" in one]
    assert found.startswith("bad has learned nothing in 1 of 3 seeds: it predicts the same class")


def test_folds_of_a_seed_are_evaluated_together():
    parts = [slice(0, 50), slice(50, 90), slice(90, 120)]
    folds = [
        cell("one", fold=k, posts=part, digest=f"fold {k}")
        for k, part in reversed(list(enumerate(parts)))
    ]
    (pooled,), (whole,) = compare(folds), compare([cell("one")])
    assert (pooled.num_folds, pooled.num_posts) == (3, 120)
    for metric in ("accuracy", "f1_weighted", "f1_macro"):
        assert pooled.variants[0].scores(metric) == pytest.approx(whole.variants[0].scores(metric))
    assert pooled.variants[0].seconds.mean == 30  # three trainings of 10 s


def test_a_training_that_was_resumed_is_left_out_of_the_duration_alone():
    folds = [cell("one", fold=k, digest=f"{k}", was_resumed=k == 1) for k in range(3)]
    (found,) = compare(folds)
    assert found.variants[0].seconds.mean == 30  # of two trainings of 10 s, for three
    (found,) = compare([dataclasses.replace(one, was_resumed=True) for one in folds])
    assert found.variants[0].seconds is None
    assert scores_table(found).rows[0][-1] == "-"


def test_a_seed_without_a_fold_is_left_out_and_named():
    cells = [cell(name, fold=k, digest=f"{k}") for name in ("one", "two") for k in range(3)]
    (results,) = compare([*cells, cell("one", 1, fold=0, digest="0")])
    assert [variant.seeds for variant in results.variants] == [(0,), (0,)]
    assert "Left out because folds are missing: one, seed 1." in list(sentences(results))
    (nothing,) = compare([c for c in cells if (c.variant, c.fold) != ("two", 2)])
    assert [variant.name for variant in nothing.variants] == ["one"]


def test_published_folds_are_pooled_by_their_test_posts():
    (pooled,), (whole,) = compare(published("one")), compare([cell("one")])
    assert (pooled.num_folds, pooled.num_posts, pooled.split) == (3, 120, "test")
    assert pooled.variants[0].scores("accuracy") == whole.variants[0].scores("accuracy")
    text = render(compare(published("one", data="mvsa-single")), "markdown")
    assert text.startswith("mvsa-single, test posts of 3 published folds, 120 posts; mean")
    assert text.endswith(f"{CAUTION_ABOUT_TEST}\n")
    assert "train and dev" not in text
    folds = [cell("one", fold=k, posts=slice(k, 60 + k), digest=f"{k}") for k in range(2)]
    assert render(compare(folds), "markdown").startswith(
        "mine, 2 folds of train and dev, 120 posts"
    )


def test_a_seed_without_a_published_fold_is_left_out_and_named():
    (found,) = compare([*published("one"), *published("two", folds=(1, 3))])
    assert [variant.name for variant in found.variants] == ["one"]
    assert "Left out because folds are missing: two, seed 0." in list(sentences(found))


def test_each_dataset_has_tables_of_its_own():
    found = compare([*grid("one"), *grid("one", data="theirs", digest="other")])
    assert [results.data for results in found] == ["mine", "theirs"]


def test_a_better_variant_is_called_better_and_an_equal_one_noise():
    (results,) = compare(grid("plain", "other") + grid("good", right=0.95) + grid("bad", right=0.1))
    other, good, bad, note, _ = sentences(results)
    assert other.startswith("other against plain: ")
    assert other.endswith("is within noise.")
    assert re.match(r"good is better than plain by \d\d\.\d points of weighted F1 \(95 % ", good)
    assert bad.startswith("bad is worse than plain by ")
    assert note.endswith("the smallest p-value of the exact test over seeds is 0.25.")
    assert [c.baseline for c in results.comparisons] == ["plain"] * 3
    assert [c.seeds_p for c in results.comparisons][1:] == [0.25, 0.25]
    assert results.comparisons[1].posts_p < 0.001
    raw = [c.difference.p_value for c in results.comparisons]
    corrected = [c.corrected_p for c in results.comparisons]
    assert corrected[1] == pytest.approx(3 * raw[1])


def test_what_correction_makes_insignificant_is_not_called_better():
    """Four posts gained, none lost: one resample in e**4 has none of them; times 2, times 3."""
    base = np.where(np.arange(120) < 30, (LABELS + 1) % 3, LABELS)
    gained = np.where(np.arange(120) < 4, LABELS, base)
    one = [cell("base", seed, predicted=base) for seed in range(3)]
    more = [cell("more", seed, predicted=gained) for seed in range(3)]
    same = [cell(f"same{i}", seed, predicted=base) for i in range(2) for seed in range(3)]
    (alone,), (among,) = compare(one + more), compare(one + more + same)
    found = [results.comparisons[0] for results in (alone, among)]
    assert found[0].difference == found[1].difference
    assert not found[0].difference.is_noise
    assert found[0].corrected_p < 0.05 < found[1].corrected_p
    assert next(sentences(alone)).startswith("more is better than base by ")
    assert next(sentences(among)).endswith(
        f" may be due to chance: p = {found[1].corrected_p:.3f} after correction for 3 comparisons."
    )


def test_one_seed_has_no_deviation_and_its_words_say_so():
    (results,) = compare([cell("plain"), cell("good", right=0.95)])
    assert "±" not in "".join(scores_table(results).rows[0])
    better, caution, note = sentences(results)
    assert "(95 % interval over posts alone +" in better
    assert caution.startswith(
        "For a variant with one seed, the variation of scores between seeds is unknown"
    )
    assert note == "With 1 shared seed the smallest p-value of the exact test over seeds is 1."


def test_the_smallest_p_is_said_for_each_number_of_shared_seeds():
    (results,) = compare(grid("one", "two", seeds=range(5)) + grid("three", seeds=(3, 4, 9)))
    assert [c.shared_seeds for c in results.comparisons] == [5, 2]
    assert [c.fewest_seeds for c in results.comparisons] == [5, 3]
    notes = [s for s in sentences(results) if s.startswith("With")]
    assert [s.split()[1] for s in notes] == ["2", "5"]
    assert notes[1].endswith("over seeds is 0.0625.")


def test_too_many_seeds_for_the_exact_test_have_all_but_it():
    (results,) = compare(grid("one", "two", seeds=range(MAX_EXACT_SEEDS + 1)))
    assert results.comparisons[0].seeds_p is None
    assert differences_table(results).rows[0][6] == "-"


def test_accuracy_is_compared_too():
    cells = grid("one", "two")
    (results,) = compare(cells)
    means = [
        np.mean([accuracy_score(c.labels, c.predicted) for c in cells if c.variant == name])
        for name in ("one", "two")
    ]
    found = results.comparisons[0].accuracy
    assert found.mean == pytest.approx(means[1] - means[0])
    assert differences_table(results).rows[0][1] == f"{100 * found.mean:+.1f}"


def test_calibration_error_is_that_of_the_runs_but_never_of_folds():
    errors = {"expected_calibration_error": 0.04}, {"expected_calibration_error": 0.06}
    (results,) = compare([cell("one", seed, metrics=errors[seed]) for seed in (0, 1)])
    table = scores_table(results)
    assert table.header[-2] == "calibration error"
    assert table.rows[0][-2] == "5.0 ± 1.4"  # sqrt(2 * 0.01 ** 2) = 0.0141
    (folds,) = compare([cell("one", fold=k, digest=f"{k}", metrics=errors[k]) for k in (0, 1)])
    assert "calibration error" not in scores_table(folds).header


def test_a_fold_missing_in_all_variants_is_missed():
    (results,) = compare([cell(name, fold=k, digest=f"{k}") for name in "ab" for k in (0, 2)])
    assert (results.num_folds, results.variants) == (3, [])
    assert list(sentences(results)) == ["Left out because folds are missing: a, seed 0; b, seed 0."]


def test_the_baseline_can_be_chosen():
    (results,) = compare(grid("plain", "good"), baseline="good")
    assert [(c.variant, c.baseline) for c in results.comparisons] == [("plain", "good")]
    assert differences_table(results).rows[0][0] == "plain against good"


def test_variants_without_a_common_seed_are_tested_unpaired():
    cells = [*grid("one", seeds=(0, 1)), *grid("good", seeds=(2, 3), right=0.95)]
    (results,) = compare(cells)
    # Of the 6 ways to choose 2 of 4 scores, the one found and its reverse are the most extreme.
    assert results.comparisons[0].seeds_p == pytest.approx(2 / 6)
    assert differences_table(results).rows[0][6] == "0.333"
    assert "Variants that share no seed are compared by an unpaired test over seeds." in sentences(
        results
    )
    assert not any("shared seed" in sentence for sentence in sentences(results))


@pytest.mark.parametrize(
    ("cells", "baseline", "words"),
    [
        (
            grid("one", "two"),
            "three",
            "no variant 'three' for --baseline: choose from one, two",
        ),
        (
            [cell("one"), cell("two", digest="else")],
            None,
            "'two' with seed 0 is evaluated on other",
        ),
        ([cell("one"), cell("one", fold=0)], None, "mix folds and a fixed split"),
        ([cell("one", fold=1), *published("two")], None, "mix published folds and folds"),
        ([cell("one"), *published("two")], None, "mix published folds and a fixed split"),
        ([], None, "There are no results to compare"),
        (grid("one") * 2, None, "2 results of variant 'one', seed 0: pass each folder once"),
        (
            [cell("one", fold=0), cell("one", fold=0)],
            None,
            "2 results of variant 'one', seed 0, fold 0",
        ),
        (
            [cell("one"), cell("one", 1, experiment="f", settings={"model": {"heads": 2}})],
            None,
            "variant 'one' of experiment 'f' has other settings than in experiment 'e'",
        ),
        (
            [cell("one"), cell("two", class_names=("b", "a", "c"))],
            None,
            "'two' with seed 0 is evaluated on other posts or classes",
        ),
        (
            [cell("one", fold=0), *(cell("two", fold=k) for k in (0, 1))],
            "one",
            "folds are missing in every seed of variant 'one'",
        ),
    ],
)
def test_what_cannot_be_compared_is_an_error(cells, baseline, words):
    with pytest.raises(MvcnError, match=words):
        compare(cells, baseline)


def test_two_classes_have_a_binary_f1_too():
    two = [
        dataclasses.replace(
            c,
            class_names=("no", "yes"),
            labels=c.labels.clip(max=1),
            predicted=c.predicted.clip(max=1),
            probabilities=np.eye(2)[c.predicted.clip(max=1)],
        )
        for c in grid("one", data="theirs", digest="other")
    ]
    found = compare([*grid("one"), *two])
    expected = np.mean([f1_score(c.labels, c.predicted) for c in two])
    table = scores_table(found[1])
    shown = dict(zip(table.header, table.rows[0], strict=True))["F1 of the second class"]
    assert shown.startswith(f"{100 * expected:.1f} ±")
    assert "F1 of the second class" not in scores_table(found[0]).header
    read = list(csv.DictReader(io.StringIO(render(found, "csv"))))
    assert not read[0]["f1_binary"]
    assert float(read[3]["f1_binary"]) == f1_score(two[0].labels, two[0].predicted)


def test_an_ensemble_of_the_seeds_is_told_apart_from_their_mean():
    cells = grid("one")
    (results,) = compare(cells)
    joint = np.mean([c.probabilities for c in cells], axis=0).argmax(-1)
    votes = [np.bincount(column).argmax() for column in np.array([c.predicted for c in cells]).T]
    assert (joint != votes).any()
    accuracy, f1 = accuracy_score(LABELS, joint), f1_score(LABELS, joint, average="weighted")
    scores = f"one {100 * accuracy:.1f} / {100 * f1:.1f}"
    said = f"The mean of the probabilities of all seeds, accuracy / weighted F1: {scores}."
    assert said in list(sentences(results))
    (of_two,) = compare(grid("one", seeds=(0, 1)))
    assert not any("probabilities" in sentence for sentence in sentences(of_two))


def test_csv_holds_every_seed_with_all_digits():
    cells = grid("one", "two")
    read = list(csv.DictReader(io.StringIO(render(compare(cells), "csv"))))
    assert [(row["variant"], row["seed"]) for row in read] == [
        (c.variant, str(c.seed)) for c in cells
    ]
    for row, c in zip(read, cells, strict=True):
        assert float(row["accuracy"]) == accuracy_score(c.labels, c.predicted)


def test_markdown_has_a_cell_for_each_column():
    text = render(compare(grid("one", "two")), "markdown")
    tables = [line for line in text.splitlines() if line.startswith("|")]
    widths = [line.count("|") for line in tables]
    assert len(tables) == 4 + 3
    assert set(widths[:4]) == {9}
    assert set(widths[4:]) == {9}


def test_latex_escapes_what_means_something_to_it():
    text = render(compare(grid("a_b", "c_d")), "latex")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    assert r"a\_b & 3 & " in text
    assert r" $\pm$ " in text
    assert r"95 \% interval" in text
    assert not re.search(r"(?<!\\)[%_#±]", text)


def test_latex_has_no_sign_that_its_default_fonts_show_as_another():
    text = render(compare(grid("plain") + grid("good", right=0.95)), "latex")
    assert r"\textless{} 0.001" in text
    assert not re.search(r"[<>|]", text)


def test_published_numbers_come_with_split_and_convention():
    table = published_table("mvsa-single")
    assert table.header == ["published", "accuracy", "F1", "which F1", "split"]
    assert ["CLMLF", "75.33", "73.46", "weighted", "3611 / 450 / 450"] in table.rows
    assert ["MVCN", "76.06", "74.55", "weighted", "a mean of runs or another"] in table.rows
    assert published_table("mine") is None
    text = render(compare(grid("one", data="mvsa-single")), "markdown")
    assert text.endswith(f"{CAUTION}\n")
    assert CAUTION not in render(compare(grid("one")), "markdown")


@pytest.mark.parametrize(("data", "posts"), [("mvsa-single", 450), ("mvsa-multiple", 1700)])
def test_a_published_split_is_said_only_where_the_accuracy_can_be_of_it(data, posts):
    """An accuracy with two digits is a whole number of right posts, or of another split."""
    for name, accuracy, *_, split in published_table(data).rows:
        right = round(float(accuracy) * posts / 100)
        possible = f"{100 * right / posts:.2f}" == accuracy
        assert possible == (split == f"{published_split(data)} / {posts} / {posts}"), name


def published_split(data):
    return {"mvsa-single": 3611, "mvsa-multiple": 13624}[data]
