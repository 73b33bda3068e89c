"""Measure mvcn against plain code: ``python -m scripts.speed``, from the repository's root.

To add a benchmark, write one file with its work and both sides, and one entry of `BENCHMARKS`.
"""

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from scripts.results import RESULTS
from scripts.speed import (
    classifier,
    commands,
    congruity_step,
    image_features,
    members,
    members_at_once,
    prediction,
    sparse_attention,
    training_epoch,
)
from scripts.speed.comparison import Benchmark, Entry, compare, table, update

epoch = partial(
    Benchmark,
    unit=f"s per epoch of {training_epoch.EPOCH_POSTS} posts",
    higher_is_better=False,
    count=1008,
    quick_count=32,
    prepare=training_epoch.prepare,
    ours=training_epoch.ours,
)
congruity = partial(
    Benchmark,
    unit="us per step",
    higher_is_better=False,
    quick_count=10,
    prepare=congruity_step.prepare,
    ours=congruity_step.ours_large,
)
sparsemax = partial(
    Benchmark,
    unit="ms forward and backward",
    higher_is_better=False,
    quick_count=1,
    prepare=sparse_attention.prepare,
)
start = partial(
    Benchmark,
    unit="s",
    higher_is_better=False,
    reads="times as long",
    count=0,
    quick_count=0,
    prepare=commands.prepare_nothing,
    reference=commands.seconds_of_typer,
)
predict = partial(
    Benchmark, higher_is_better=True, count=450, quick_count=4, prepare=commands.prepare
)

BENCHMARKS = {
    **{
        f"mvcn_{name}_vs_import_typer": start(ours=partial(commands.seconds, command=command))
        for name, command in {
            "help": ("--help",),
            "train_help": ("train", "--help"),
            "version": ("--version",),
            "models": ("models",),
        }.items()
    },
    "mvcn_predict_one_vs_torch": predict(
        unit="s",
        higher_is_better=False,
        ours=partial(commands.seconds_of_one, backend="auto"),
        reference=partial(commands.seconds_of_one, backend="torch"),
    ),
    **{
        f"mvcn_predict_{kind}_vs_torch": predict(
            unit="posts/s, with the start of the process",
            ours=partial(commands.rate, backend="auto", kind=kind),
            reference=partial(commands.rate, backend="torch", kind=kind),
            limit=commands.limit if kind == "both" else None,
        )
        for kind in commands.TABLES
    },
    "mvcn_predict_memory_vs_torch": predict(
        unit="MB",
        higher_is_better=False,
        reads="times as much",
        ours=partial(commands.megabytes, backend="auto"),
        reference=partial(commands.megabytes, backend="torch"),
    ),
    "mvcn_predict_beside_four_processes": predict(
        unit="posts/s, with the start of the process",
        reads="of it alone",
        ours=commands.rate_beside_others,
        reference=partial(commands.rate, backend="auto", kind="both"),
    ),
    "image_features_vs_eager": Benchmark(
        unit="images/s",
        higher_is_better=True,
        count=512,
        quick_count=4,
        prepare=image_features.prepare,
        ours=image_features.ours,
        reference=image_features.reference,
        limit=image_features.limit,
    ),
    "training_epoch_vs_plain": epoch(
        reference=training_epoch.reference, limit=training_epoch.limit
    ),
    "training_step_share_of_matmul_limit": epoch(
        reads="of the limit", reference=training_epoch.measured_limit
    ),
    "scc_step_n1e6_vs_n3600": congruity(
        reads="times as long", count=2000, reference=congruity_step.ours_small
    ),
    "scc_step_k1e4_vs_k3": congruity(
        reads="times as long",
        count=2000,
        ours=congruity_step.ours_many_classes,
        reference=congruity_step.ours_few_classes,
    ),
    "scc_added_vs_center_loss": congruity(
        unit="us added to a step",
        reads="times as long",
        count=2000,
        quick_count=100,
        ours=congruity_step.added_by_ours,
        reference=congruity_step.added_by_center_loss,
    ),
    "scc_step_vs_reaverage_n1e6": congruity(count=20, reference=congruity_step.reaverage),
    "scc_step_vs_crossbatchmemory": congruity(
        unit=f"us per step, {congruity_step.MEMORY} posts remembered",
        needs="pytorch_metric_learning",
        count=50,
        ours=congruity_step.ours_memory,
        reference=congruity_step.cross_batch_memory,
    ),
    "scc_share_of_training_step": congruity(
        reads="times as long",
        count=512,
        quick_count=32,
        prepare=congruity_step.prepare_with_model,
        ours=congruity_step.ours_small,
        reference=congruity_step.model_step,
    ),
    **{
        f"sparsemax_vs_softmax_{patches}": sparsemax(
            reads="times as long",
            count=200,
            ours=partial(sparse_attention.ours, patches=patches),
            reference=partial(sparse_attention.softmax, patches=patches),
        )
        for patches in sparse_attention.SHAPES
    },
    "sparsemax_vs_entmax_197": sparsemax(
        count=50,
        ours=partial(sparse_attention.ours, patches=197),
        reference=partial(sparse_attention.other_sparsemax, patches=197),
    ),
    **{
        f"predict_{name}_b{batch}_vs_hf": Benchmark(
            unit="posts/s",
            higher_is_better=True,
            count=128,
            quick_count=4,
            needs=None if backend == "torch" else "onnxruntime",
            prepare=partial(prediction.prepare, backend=backend),
            ours=partial(
                prediction.ours, backend=backend, batch=batch, is_compiled=name == "compiled"
            ),
            reference=partial(prediction.reference, batch=batch),
        )
        for name, backend in prediction.BACKENDS.items()
        for batch in (1, 32)
    },
    **{
        f"predict_{name}_five_members_vs_one": Benchmark(
            unit="ms per post",
            higher_is_better=False,
            reads="times as long",
            count=128,
            quick_count=2,
            needs=None if backend == "torch" else "onnxruntime",
            prepare=partial(members.prepare, backend=backend),
            ours=partial(members.milliseconds, backend=backend, members=5),
            reference=partial(members.milliseconds, backend=backend, members=1),
        )
        for name, backend in prediction.BACKENDS.items()
        if name in {"eager", "onnx"}
    },
    "congruity_classifier_vs_mlp": Benchmark(
        unit="s for five folds of digits",
        higher_is_better=False,
        reads="times as long",
        count=200,
        quick_count=2,
        prepare=classifier.prepare,
        ours=classifier.ours,
        reference=classifier.reference,
    ),
    "train_members_at_once_vs_one_by_one": Benchmark(
        unit="s for all members",
        higher_is_better=False,
        count=300,
        quick_count=20,
        prepare=members_at_once.prepare,
        ours=members_at_once.at_once,
        reference=members_at_once.one_by_one,
    ),
}

OUTPUT = RESULTS / "bench.json"
ROUNDS = 3

NOTE = (
    "ratio: times faster than the reference; of scc_step_n1e6_vs_n3600, scc_step_k1e4_vs_k3, "
    "scc_added_vs_center_loss, scc_share_of_training_step and sparsemax_vs_softmax, how many times "
    "as long ours takes. limit: our side if its floating point operations ran at the rate of this "
    "machine's float32 matrix products. share: how much of that is reached."
)


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Benchmarks to run; else all.")] = None,
    quick: Annotated[bool, typer.Option(help="One round of little work; no results.")] = False,
    output: Annotated[
        Path | None, typer.Option(help=f"JSON of the results; {OUTPUT} unless --quick.")
    ] = None,
) -> None:
    """Time each benchmark, print a table and keep the results as JSON."""
    if output is None and not quick:
        output = OUTPUT
    entries = []
    for name in filter(_can_run, names or BENCHMARKS):
        entries.append(_run(name, quick))
        if output is not None:
            update(output, entries, BENCHMARKS)
    typer.echo(f"\n{table(entries)}\n\n{NOTE}")


def _can_run(name: str) -> bool:
    if name not in BENCHMARKS:
        raise typer.BadParameter(f"There is no '{name}': choose from {', '.join(BENCHMARKS)}.")
    needs = BENCHMARKS[name].needs
    if needs is None or find_spec(needs) is not None:
        return True
    typer.echo(f"{name}: left out, since {needs} is not installed (make bench installs it).")
    return False


def _run(name: str, quick: bool) -> Entry:
    def tell(line: str) -> None:
        typer.echo(f"{name}: {line}")

    with TemporaryDirectory(prefix="mvcn-bench-") as folder:
        rounds = 1 if quick else ROUNDS
        entry = compare(BENCHMARKS[name], Path(folder), quick=quick, rounds=rounds, tell=tell)
    return {"name": name, **entry}


if __name__ == "__main__":
    typer.run(main)
