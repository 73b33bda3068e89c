"""Running the command line as a person does."""

import sys

import pytest

from mvcn.cli import main


@pytest.fixture
def mvcn(monkeypatch, capsys):
    """Return a function that runs a command line and gives exit code, output and errors."""
    monkeypatch.setattr("mvcn.cli.process.warnings.filterwarnings", lambda *_: None)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mvcn", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return stopped.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture
def fails(mvcn):
    """Return a function that runs a command line that must fail, and gives its one sentence."""

    def run(*arguments):
        code, _, errors = mvcn(*arguments)
        assert code == 2
        *_, sentence = errors.strip().splitlines()
        assert sentence.startswith("Error: ")
        assert sentence.endswith((".", "?"))
        assert "Traceback" not in errors
        return sentence

    return run
