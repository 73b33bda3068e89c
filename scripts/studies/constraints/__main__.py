"""Where constraints on features help; writes results/regimes.json.

Run from the repository's root, in .venv-bench: ``python -m scripts.studies.constraints``. One
network with one hidden layer learns each data set by cross-entropy, alone or with label smoothing,
center loss, supervised contrastive loss or the semantic congruity constraint on its hidden
features. In each regime there are five draws, each with its own rows, flipped labels, first weights
and noise. The weight of each loss is, of four, the best on a third of the training rows of all
draws; then the network is trained on all rows of each draw, and evaluated on rows that were never
used. A run that was killed continues.

Data: what comes with scikit-learn, and, where their folders are given, MVSA-Single and HFM.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from jaxtyping import Float, Int
from tqdm import tqdm

from mvcn.cli.process import set_up_process
from mvcn.evaluation.metrics import METRICS
from scripts import results
from scripts.studies.constraints import data
from scripts.studies.constraints.data import CLASSES, LEVELS, NOISE, UNCHANGED, Rows
from scripts.studies.constraints.training import LOSSES, Predict, choose_weight, train

NAME = "regimes"
SEEDS, RESAMPLES = 5, 1000
METRIC = "f1_macro"
REFERENCE = "cross-entropy"


def main(
    mvsa: Annotated[Path | None, typer.Option(help="Folder of MVSA-Single with splits/.")] = None,
    hfm: Annotated[Path | None, typer.Option(help="Folder of HFM.")] = None,
    seeds: Annotated[int, typer.Option(min=1)] = SEEDS,
    quick: Annotated[bool, typer.Option(help="The smallest data set alone.")] = False,
) -> None:
    """Compare the losses in each regime, and keep the numbers after each."""
    set_up_process()
    torch.set_num_threads(1)  # the network is too small for two
    found = list(results.read(NAME).get("regimes", []))
    known = {(one["data"], one["regime"], one["level"]) for one in found}
    work = [
        (rows, regime, level)
        for rows in _data(mvsa, hfm, quick)
        for regime, level in _regimes(rows)
        if (rows.name, regime, level) not in known
    ]
    for rows, regime, level in tqdm(work, desc="Regimes", unit="regime"):
        found += _measure(rows, regime, level, seeds)
        results.write(NAME, {"seeds": seeds, "metric": METRIC, "regimes": found})


def _data(mvsa: Path | None, hfm: Path | None, quick: bool) -> Iterator[Rows]:
    if quick:
        yield next(rows for rows in data.bundled() if rows.name == "wine")
        return
    yield from data.bundled()
    yield from data.digit_pairs()
    if mvsa is not None:
        yield from data.mvsa(mvsa)
    if hfm is not None:
        yield data.hfm(hfm)
        yield from data.hashtags(hfm)


def _regimes(rows: Rows) -> list[tuple[str, float]]:
    """Return the regimes and levels of a data set; its number of classes is it as it is."""
    changed = [
        (regime, float(level))
        for regime in data.regimes()
        for level in LEVELS[regime]
        if UNCHANGED.get(regime) != level
    ]
    as_it_is = (CLASSES, float(rows.num_classes))
    return [as_it_is] if rows.name in data.FAMILIES else [as_it_is, *changed]


def _measure(rows: Rows, regime: str, level: float, seeds: int) -> list[dict[str, Any]]:
    """Return what each loss reaches; on rows as they are, with noise in the test rows, too."""
    draws = [_changed(rows, regime, level, seed) for seed in range(seeds)]
    weights = {name: choose_weight(draws, loss, rows.num_classes) for name, loss in LOSSES.items()}
    trained = {
        name: [
            train(drawn, loss, weights[name], seed, rows.num_classes)
            for seed, drawn in enumerate(draws)
        ]
        for name, loss in LOSSES.items()
    }
    about = {"data": rows.name, "train_rows": len(draws[0].train), "classes": rows.num_classes}
    found = [{**about, "regime": regime, "level": level, **_evaluate(rows, trained, weights, 0)}]
    if regime == CLASSES and rows.name not in data.FAMILIES:
        found += [
            {**about, "regime": NOISE, "level": noise, **_evaluate(rows, trained, weights, noise)}
            for noise in LEVELS[NOISE]
            if noise
        ]
    return found


def _changed(rows: Rows, regime: str, level: float, seed: int) -> Rows:
    change = data.regimes().get(regime)
    return rows if change is None else change(rows, level, np.random.default_rng(seed))


def _evaluate(
    rows: Rows,
    trained: Mapping[str, Sequence[Predict]],
    weights: Mapping[str, float],
    noise: float,
) -> dict[str, Any]:
    """Return the scores of each loss, and its gains over cross-entropy, paired by seed and row."""
    deviations = noise * rows.train.std(0)
    predicted: dict[str, Int[np.ndarray, "seeds rows"]] = {
        name: np.array(
            [
                predict(
                    rows.test
                    + deviations * np.random.default_rng(seed).standard_normal(rows.test.shape)
                )
                for seed, predict in enumerate(of_seeds)
            ]
        )
        for name, of_seeds in trained.items()
    }
    return {
        "losses": {
            name: {
                "weight": weights[name],
                "scores": [_score(rows, one) for one in predicted[name]],
                **_gain(rows, predicted[REFERENCE], predicted[name]),
            }
            for name in trained
        }
    }


def _score(rows: Rows, predicted: Int[np.ndarray, " rows"]) -> float:
    return float(_metric(rows, predicted, np.ones(len(predicted))))


def _metric(
    rows: Rows, predicted: Int[np.ndarray, " rows"], counts: Float[np.ndarray, " rows"]
) -> float:
    """Return the metric where each test row counts so many times."""
    size = rows.num_classes
    cells = np.bincount(rows.test_classes * size + predicted, counts, size**2)
    return float(METRICS[METRIC](cells.reshape(size, size)))


def _gain(
    rows: Rows,
    reference: Int[np.ndarray, "seeds rows"],
    predicted: Int[np.ndarray, "seeds rows"],
) -> dict[str, Any]:
    """Return the mean gain and its 95 % interval, from draws of seeds and of test rows.

    A seed stands for the same training rows, first weights and noise with both losses, so that
    both are drawn together.
    """
    random, (seeds, size) = np.random.default_rng(0), predicted.shape

    def gain(drawn: Int[np.ndarray, " seeds"], counts: Float[np.ndarray, " rows"]) -> float:
        gains = [
            _metric(rows, predicted[seed], counts) - _metric(rows, reference[seed], counts)
            for seed in drawn
        ]
        return float(np.mean(gains))

    drawn = [
        gain(
            random.integers(seeds, size=seeds),
            np.bincount(random.integers(size, size=size), minlength=size).astype(float),
        )
        for _ in range(RESAMPLES)
    ]
    return {
        "gain": gain(np.arange(seeds), np.ones(size)),
        "interval": np.percentile(drawn, [2.5, 97.5]).tolist(),
    }


if __name__ == "__main__":
    typer.run(main)
