"""Put a service under load and faults; write what came of it to results/reliability.json.

Run from the repository's root: ``python -m scripts.reliability --run runs/demo/sparsemax``. Each
part is a function of a run folder; a part that is not measured anew stays as it is in the file.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from mvcn.errors import ConfigError
from mvcn.files import write_json
from mvcn.training.run_folder import describe_environment
from scripts.reliability.service import measure_load, measure_slow_clients, measure_stop

PARTS: dict[str, Callable[[Path], Mapping[str, Any]]] = {
    "load": measure_load,
    "stop_under_load": measure_stop,
    "slow_clients": measure_slow_clients,
}
RESULTS = Path("results") / "reliability.json"


def main(
    run: Annotated[Path, typer.Option(help="Run folder to serve.")],
    part: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(PARTS)}; all by default.")
    ] = None,
) -> None:
    """Measure, and keep the numbers."""
    content = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    for name in part or PARTS:
        if name not in PARTS:
            raise ConfigError(f"There is no part '{name}': choose from {', '.join(PARTS)}.")
        content[name] = dict(PARTS[name](run))
        typer.echo(f"{name}: {json.dumps(content[name])}")
        write_json(RESULTS, content | {"environment": describe_environment()})


if __name__ == "__main__":
    typer.run(main)
