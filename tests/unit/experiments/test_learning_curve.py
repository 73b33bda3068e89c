"""Which results make a learning curve, and what its table and figure say."""

import dataclasses

import numpy as np
import pytest

from mvcn.errors import ConfigError, RunError
from mvcn.experiments.compare import compare
from mvcn.experiments.comparison_tables import curve_differences_table, curve_table, render
from mvcn.experiments.learning_curve import learning_curves, require_figure, write_curve
from mvcn.experiments.results import CellResult

LABELS = np.array([0] * 60 + [1] * 40)


def cells(*sizes, names=("plain", "good"), digest="same"):
    made = []
    for size in sizes:
        for name in names:
            for seed in range(3):
                wrong = np.arange(100) % 10 < (4 if name == "plain" else 1) + (size < 200)
                wrong = np.roll(wrong, seed)
                made.append(
                    CellResult(
                        "e",
                        name,
                        f"posts-{size}",
                        seed,
                        None,
                        ("bad", "good"),
                        labels=LABELS,
                        predicted=np.where(wrong, 1 - LABELS, LABELS),
                        probabilities=np.eye(2)[np.where(wrong, 1 - LABELS, LABELS)],
                        has_near_duplicate=np.zeros(100, dtype=bool),
                        posts_digest=digest,
                        metrics={},
                        settings={},
                        seconds={"training": 1.0},
                        environment={},
                        train_posts=size,
                    )
                )
    return made


def test_a_curve_has_its_points_in_the_order_of_their_posts():
    (curve,) = learning_curves(compare(cells(1000, 100, 300)))
    assert [point.train_posts for point in curve.points] == [100, 300, 1000]
    assert curve.names == ["plain", "good"]
    table = curve_table(curve)
    assert table.header == ["training posts", "plain", "good", "most frequent class"]
    assert [row[1].split(" ± ")[0] for row in table.rows] == ["50.0", "60.0", "60.0"]
    # 60 of 100 are the class: accuracy 0.6; its F1 is 2 * 0.6 / 1.6 = 0.75, times its share 0.6
    assert {row[3] for row in table.rows} == {"60.0 / 45.0"}


def test_each_number_of_posts_has_a_paired_difference_with_its_interval():
    (curve,) = learning_curves(compare(cells(100, 300)))
    rows = curve_differences_table(curve).rows
    assert [row[:3] for row in rows] == [
        ["100", "good against plain", "+30.0"],
        ["300", "good against plain", "+30.0"],
    ]
    assert all(" to " in row[3] and " to " in row[5] for row in rows)


def test_the_curve_is_shown_before_the_tables_of_its_datasets():
    text = render(compare(cells(100, 300)), "markdown")
    assert text.startswith(
        "Learning curve of posts-100, posts-300: accuracy / weighted F1 on the same 100 posts; "
    )
    assert text.index("most frequent class") < text.index("posts-100, dev split")


@pytest.mark.parametrize(
    "made",
    [
        cells(100),
        [*cells(100), *cells(300, digest="other")],
        [dataclasses.replace(cell, train_posts=None) for cell in cells(100, 300)],
        [*cells(100, names=("plain",)), *cells(300, names=("good",))],
    ],
    ids=["one size", "other posts", "earlier version", "no common variant"],
)
def test_other_results_have_no_curve(made, tmp_path):
    results = compare(made)
    assert learning_curves(results) == []
    assert "Learning curve" not in render(results, "markdown")
    with pytest.raises(ConfigError, match="have no learning curves, but a figure shows one"):
        write_curve(results, tmp_path / "curve.png")


@pytest.mark.parametrize("name", ["curve.png", "curve.svg"])
def test_a_figure_replaces_only_a_figure(name, tmp_path):
    path = tmp_path / name
    write_curve(compare(cells(100, 300)), path)
    require_figure(path, overwrite=True)
    with pytest.raises(RunError, match="exists: choose another file"):
        require_figure(path, overwrite=False)
    path.write_text("years of work")
    with pytest.raises(RunError, match="is not a figure by mvcn compare"):
        require_figure(path, overwrite=True)
    with pytest.raises(ConfigError, match=r"must end in \.png or \.svg"):
        require_figure(tmp_path / "curve.doc", overwrite=True)
