"""Fixtures that several test files share."""

import signal

import pytest

from fastnn.cli import main

# What a shell starts in the background ignores Ctrl-C and hands that on to its children; tests send it to theirs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs a command in an empty folder: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run_command(*arguments):
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_command


@pytest.fixture
def fails(run):
    """Runs a command that must end in exit code 2 and one line; returns the line."""

    def run_failing(*arguments):
        code, _, err = run(*arguments)
        assert code == 2
        assert err.count("\n") == 1
        assert err.startswith("fastnn")
        assert ": error: " in err
        assert "Traceback" not in err
        return err

    return run_failing
