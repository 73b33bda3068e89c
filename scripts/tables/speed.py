"""Tables of speed and size: compared with plain code, of large datasets, and how both grow."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scripts.tables.markdown import table

MEGABYTE, GIGABYTE = 1e6, 1e9
SCALE_ROWS = {
    "prepare": "`mvcn prepare` of a CSV with image files",
    "audit": "`mvcn audit` of what it wrote",
    "audit_of_files": "`mvcn audit` of the CSV itself",
}
LARGE_COLUMNS = {
    "reading": "reading",
    "encoding": "encoding",
    "training": "epoch",
    "evaluation": "evaluation",
}


SIDES = ("ours", "plain")


def _bench(content: Sequence[Mapping[str, Any]]) -> str:
    """Speed compared with plain code."""
    rows = [
        [
            one["name"],
            f"{one['ours']:.1f}",
            f"{one['reference']:.1f}",
            one["unit"],
            one["reads"],
            f"{one['share_of_limit']:.0%}" if "share_of_limit" in one else "",
        ]
        for one in content
    ]
    header = ["benchmark", "ours", "reference", "unit", "ours is", "of the limit"]
    return table(header, rows, "The limit is the rate of this machine's matrix products alone.")


def _scale(content: Mapping[str, Any]) -> str:
    """Time and memory of the commands that read a complete dataset."""
    rows = [
        [
            words,
            f"{content[name]['seconds']:.0f}",
            f"{content[name]['posts_per_second']:.0f}",
            f"{content[name]['peak_memory_mb'] / 1000:.2f}",
        ]
        for name, words in SCALE_ROWS.items()
    ]
    header = [f"{content['posts']:,} generated posts", "seconds", "posts/s", "GB of memory"]
    return table(header, rows, "Memory is the largest process's peak, on two cores.")


def _large(content: Mapping[str, Any]) -> str:
    """Time and memory of one epoch on many posts; the last row is extrapolated."""
    rows = [_training_of(f"{size['posts']:,}", _flat(size)) for size in content["sizes"]]
    beyond = content["extrapolated"]
    rows.append(_training_of(f"{beyond['posts']:,} (extrapolated)", beyond))
    header = ["posts", *(f"{words}, s" for words in LARGE_COLUMNS.values())]
    header += ["memory, MB", "feature cache, MB"]
    grown = content["bytes_per_post"]["anonymous"]
    note = f"{content['note']} Each post adds {grown:,} bytes of memory."
    return table(header, rows, note)


def _flat(size: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was measured in the form of what is extrapolated."""
    phases = size["phases"]
    return {
        "processor_seconds": {name: phase["processor_seconds"] for name, phase in phases.items()},
        "peak_anonymous_mb": max(phase["peak_anonymous_mb"] for phase in phases.values()),
        "feature_cache_mb": size["feature_cache_mb"],
    }


def _training_of(posts: str, found: Mapping[str, Any]) -> list[str]:
    seconds = (f"{found['processor_seconds'][phase]:,.0f}" for phase in LARGE_COLUMNS)
    return [
        posts,
        *seconds,
        f"{found['peak_anonymous_mb']:,.0f}",
        f"{found['feature_cache_mb']:,.0f}",
    ]


def _install(content: Mapping[str, Any]) -> str:
    """Size and start of each installation."""
    rows = [
        [
            f"`{name}`",
            f"{one['megabytes']:,}",
            *(f"{one[f'{what}_seconds']:.1f}" for what in ("help", "import", "predict")),
        ]
        for name, one in content["installations"].items()
    ]
    header = ["", "MB on disk", "s for `mvcn --help`", "s for `from mvcn import Classifier`"]
    return table([*header, "s for the class of one post"], rows)


def _bulk(content: Mapping[str, Any]) -> str:
    """How fast each way to run a bulk job is."""
    rows = [
        [
            way,
            backend,
            f"{one['posts_per_second']:.1f}",
            f"{one['processor_ms_per_post']:.1f}",
            f"{one['worker_memory_mb']:,}",
            f"{one['core_hours_per_billion']:,}",
        ]
        for backend, ways in content["ways"].items()
        for way, one in ways.items()
    ]
    header = ("workers", "backend", "posts/s", "CPU ms per post", "MB per worker")
    note = (
        f"{content['posts']:,} generated posts with images a way, on {content['cores']} cores with "
        f"a load of {content['load']:.0f} from others. The last column is computed."
    )
    return table((*header, "core-hours per billion posts"), rows, note)


def _scaling_steps(content: Mapping[str, Any]) -> str:
    """Time and memory of the constraint in a step."""
    rows = [
        [
            *(f"{step[size]:,}" for size in ("queue", "classes", "dim")),
            f"{step['microseconds']:,.0f}" if "microseconds" in step else "computed alone",
            _megabytes(step["queue_bytes"]),
        ]
        for step in content["steps"]
    ]
    header = ("queue N", "classes K", "width d", "microseconds", "MB of queue")
    return table(header, rows)


def _scaling_devices(content: Mapping[str, Any]) -> str:
    """What each device receives in a step."""
    rows = [
        [
            f"{one['devices']:,}",
            f"{one['devices'] * content['batch']:,}",
            _megabytes(one["queue"]),
            _megabytes(one["gradients"]),
        ]
        for one in content["devices"]
    ]
    return table(("devices", "posts a step", "MB for the queue", "MB for the gradients"), rows)


def _scaling_posts(content: Mapping[str, Any]) -> str:
    """What grows with the posts of a training."""
    rows = [
        [
            f"{one['posts']:,}",
            f"{one['order_seconds']:.2f}",
            f"{one['posts'] * content['image_feature_bytes'] / GIGABYTE:,.1f}",
        ]
        for one in content["posts"]
    ]
    header = ("training posts", "seconds to order an epoch", "GB of image features on disk")
    return table(header, rows)


def _megabytes(count: int) -> str:
    return f"{count / MEGABYTE:,.3g}" if count < MEGABYTE else f"{count / MEGABYTE:,.1f}"


def _bulk_growth(content: Mapping[str, Any]) -> str:
    """Time and memory of bulk jobs by their number of posts."""
    rows = []
    for run, jobs in content["jobs"].items():
        for before, job in zip([{"posts": 0, "seconds": 0.0}, *jobs], jobs, strict=False):
            posts, seconds = (job[name] - before[name] for name in ("posts", "seconds"))
            rows.append(
                [
                    run,
                    f"{job['posts']:,}",
                    f"{job['seconds']:,.0f}",
                    f"{job['posts'] / job['seconds']:,.0f}",
                    f"{1e3 * seconds / posts:.2f}",
                    f"{job['memory_mb']:,}",
                ]
            )
    note = (
        "Seconds of the whole command; milliseconds for each post more than in the row above. "
        f"Memory is that of all processes, one for each of {content['cores']} cores and one more."
    )
    return table(("model", "posts", "s", "posts/s", "ms a further post", "MB"), rows, note)


def _training_step(content: Mapping[str, Any]) -> str:
    """Where the time of a training step goes."""
    step = content["step"]
    rows = [[part, f"{share:.0%}"] for part, share in step["shares"].items()]
    times = ", ".join(
        f"{1e3 * seconds:.1f} ms ({name})" for name, seconds in content["optimizer_seconds"].items()
    )
    note = f"A step takes {1e3 * step['seconds']:.0f} ms. AdamW alone: {times}."
    return f"{table(['part of a step', 'of its time'], rows)}\n\n{note}"


def _paper_step(content: Mapping[str, Any]) -> str:
    """Time and memory of a training step with the paper's encoders."""
    rows = [
        [
            name,
            *(f"{way[side]['seconds']:.1f}" for side in SIDES),
            f"{way['times_faster']:.2f} times faster",
            *(f"{way[side]['megabytes']:,.0f}" for side in SIDES),
        ]
        for name, way in content["ways"].items()
    ]
    header = ["trained", "ours, s", "plain script, s", "ours is", "ours, MB", "plain script, MB"]
    return table(header, rows)


TABLES: dict[str, Callable[[Any], str]] = {
    "bench": _bench,
    "bulk": _bulk,
    "bulk-growth": _bulk_growth,
    "install": _install,
    "large": _large,
    "paper-step": _paper_step,
    "scale": _scale,
    "scaling-devices": _scaling_devices,
    "scaling-posts": _scaling_posts,
    "scaling-steps": _scaling_steps,
    "training-step": _training_step,
}
FILES = {
    **dict.fromkeys(("scaling-devices", "scaling-posts", "scaling-steps"), "scaling"),
}
"""Name of a table -> the file of results that it is of, where that has another name."""
