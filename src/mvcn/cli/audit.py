"""``mvcn audit``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mvcn.audit.findings import KINDS
from mvcn.cli.options import Dataset, Splits, data_config, reads_posts
from mvcn.cli.process import set_up_process
from mvcn.errors import ConfigError
from mvcn.files import write_json
from mvcn.outputs import begins_with, require_own_file

FOUND = 1
"""Exit code when a kind named by --fail-on was found."""


@reads_posts()
def audit(
    dataset: Dataset,
    root: Annotated[Path | None, typer.Option(help="Folder or file of the posts.")] = None,
    splits: Splits = None,
    train: Annotated[
        Path | None, typer.Option(help="Posts to learn from, in place of --root.")
    ] = None,
    dev: Annotated[Path | None, typer.Option(help="Dev posts, with --train.")] = None,
    json: Annotated[
        Path | None, typer.Option(help="Write all findings here; replaces an earlier report.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with pictures of examples here.")
    ] = None,
    label_errors: Annotated[
        bool, typer.Option("--label-errors", help="Search for wrong labels, too: takes minutes.")
    ] = False,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND", help=f"End with exit code 1 if this is found: {', '.join(KINDS)}."
        ),
    ] = None,
) -> None:
    """Find faults of a dataset: duplicates across splits, bad images, garbled texts, labels."""
    from mvcn import audit as library
    from mvcn.report.audit_page import write_audit

    kinds = _known_kinds(fail_on or [], label_errors)
    _require_places([path for path in (json, html) if path is not None], library.MARK)
    config = data_config(dataset, root=root, splits=splits, train=train, dev=dev)
    if label_errors:
        set_up_process()
    audited = library.read_audited_posts(config)
    findings = library.audit(audited, label_errors)
    typer.echo("\n".join(library.summary_lines(audited, findings)))
    if json is not None:
        write_json(json, library.to_mapping(audited, findings))
        typer.echo(f"All findings are in {json}.")
    if html is not None:
        write_audit(audited, findings, html)
        typer.echo(f"Open {html} in a browser to see examples.")
    if failed := [kind for kind in kinds if findings[kind].count]:
        typer.echo(f"Found what --fail-on names: {', '.join(failed)}.", err=True)
        raise typer.Exit(FOUND)


def _known_kinds(kinds: Sequence[str], label_errors: bool) -> Sequence[str]:
    for kind in kinds:
        if kind not in KINDS:
            raise ConfigError(f"--fail-on '{kind}' is no finding: choose from {', '.join(KINDS)}.")
    if "label_errors" in kinds and not label_errors:
        raise ConfigError("--fail-on label_errors needs the search for them: add --label-errors.")
    return kinds


def _require_places(paths: Sequence[Path], mark: str) -> None:
    """Raise an error unless the reports can be written there without loss of another file."""
    for path in paths:
        require_own_file(path, "report of mvcn audit", is_own=begins_with(path, mark))
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError(f"--json and --html both name {paths[0]}: name two files.")
