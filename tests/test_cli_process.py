"""The commands as processes of their own: signals, pipes, what is imported."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_data import people

import fastnn

pytest.importorskip("pandas")
pytest.importorskip("sklearn")


def command(*arguments):
    return [sys.executable, "-m", "fastnn", *map(str, arguments)]


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_reports_saves_and_says_so(tmp_path):
    process = subprocess.Popen(
        command("train", "digits", "--epochs", 10**7, "--patience", 0, "--save", tmp_path / "net.safetensors"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert process.stdout is not None
    seen = [next(line for line in process.stdout if line.startswith("epoch"))]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert "Interrupted" in out
    assert "validation accuracy" in out
    assert (tmp_path / "net.safetensors").is_file()
    assert seen


def trained(folder, stdout, *arguments):
    """A short training whose standard output goes to `stdout`."""
    return subprocess.Popen(
        command("train", "iris", "--epochs", 3, "--save", "net.safetensors", *arguments),
        cwd=folder,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )


@pytest.mark.skipif(os.name == "nt", reason="pipes")
def test_training_saves_although_the_reader_of_its_report_is_gone(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    process = trained(tmp_path, writing)
    os.close(writing)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 141
    assert "rror" not in err
    assert fastnn.load(tmp_path / "net.safetensors").inputs == 4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_training_saves_although_its_report_cannot_be_printed(tmp_path):
    with open("/dev/full", "w") as full:
        process = trained(tmp_path, full)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err.splitlines()[-1] == "fastnn train: error: the report could not be printed: no space left on device"
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    assert fastnn.load(tmp_path / "net.safetensors").inputs == 4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_printed_is_one_line(tmp_path):
    trained(tmp_path, subprocess.DEVNULL).communicate(timeout=120)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    for arguments in (("info",), ("predict", "net.safetensors", "iris")):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                command(*arguments), cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, env=environment
            )
        assert done.returncode == 1
        assert done.stderr.count("the output could not be printed: no space left on device") == 1
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_further_ctrl_c_does_not_take_away_report_and_model(tmp_path):
    process = trained(tmp_path, subprocess.PIPE, "--epochs", 10**7, "--patience", 0)
    assert process.stdout is not None
    next(line for line in process.stdout if line.startswith("epoch"))
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert "Interrupted" in out
    assert "validation accuracy" in out
    assert fastnn.load(tmp_path / "net.safetensors").inputs == 4


def test_closed_pipe_is_no_error(tmp_path):
    Path(tmp_path / "many.csv").write_text(people(20_000))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    training = command("train", "many.csv", "--target", "rich", "--epochs", 1, "--quiet", "--save", "net.safetensors")
    subprocess.run(training, cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)
    process = subprocess.Popen(
        command("predict", "net.safetensors", "many.csv"),
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"prediction,probability\n"
    process.stdout.close()
    assert b"rror" not in process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 0


def test_training_a_bundled_set_imports_neither_pandas_nor_scikit_learn():
    program = (
        "import sys; from fastnn.cli import main; assert main(['train', 'digits', '--epochs', '2', '--quiet']) == 0; "
        "print(sorted({'sklearn', 'pandas', 'scipy', 'matplotlib', 'tqdm'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
