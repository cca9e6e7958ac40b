"""`fastnn sweep`: sweeps from files on small data sets, what they print and keep, and every mistake in one line."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_data import houses, number, people

import fastnn as fnn
from fastnn.cli import sweepfile, words
from fastnn.sweeps import results

pytest.importorskip("pandas")
pytest.importorskip("sklearn")
pytest.importorskip("scipy")

IRIS = """
[data]
source = "iris"
[space]
lr = [0.1, 0.01]
hidden = ["8", 4]
seed = [0, 1]
[fixed]
epochs = 6
[sweep]
metric = "val_accuracy"
workers = 2
"""


def write(text=IRIS, name="sweep.toml", **replacements):
    """A file in the present folder, with texts of it replaced."""
    for old, new in replacements.values():
        assert old in text
        text = text.replace(old, new)
    Path(name).write_text(text)
    return name


def outcomes(path="sweep.jsonl"):
    """What came of each trial, as bits."""
    return {trial.key: (trial.status, trial.value.hex()) for trial in results.read(path)[1]}


def best_command(out):
    """The command that trains the best configuration, as arguments."""
    (line,) = re.findall(r"python -m fastnn (train .*)$", out, re.MULTILINE)
    return shlex.split(line)


# Runs.


def test_a_grid_is_trained_ranked_and_kept(run):
    write()
    code, out, err = run("sweep", "sweep.toml")
    assert code == 0
    assert "8 trainings, grid search of lr, hidden, 2 seeds each" in out
    assert "8 done: 8 finished" in out
    table = [line.split() for line in out.splitlines() if line.endswith("finished") and "2/2" in line]
    assert len(table) == 4
    means = [float(row[2]) for row in table]
    assert means == sorted(means, reverse=True)
    assert "8 of 8 trials done" in err
    header, trials = results.read("sweep.jsonl")
    assert header["metric"] == "val_accuracy"
    assert {trial.config["epochs"] for trial in trials} == {6}
    assert {trial.config["hidden"] for trial in trials} == {"8", 4}


def test_the_command_it_prints_trains_the_best_configuration_to_the_same_score(run):
    for epochs in (6, 60):  # with 60 epochs most trainings are stopped early, and keep the weights of an earlier epoch
        write(a=("epochs = 6", f"epochs = {epochs}\npatience = 4"), b=("seed = [0, 1]", "seed = [3]"))
        _, out, _ = run("sweep", "sweep.toml", "--results", f"{epochs}.jsonl", "--quiet")
        command = best_command(out)
        trials = results.read(f"{epochs}.jsonl")[1]
        if epochs == 60:
            assert any(trial.scores["epoch"] < len(trial.curve) < 60 for trial in trials)
        best = max(trial.value for trial in trials)
        assert command[-2:] == ["--save", "net.safetensors"]
        code, out, _ = run(*command)
        assert code == 0
        assert number("validation accuracy", out) == round(best, 4)
        assert Path("net.safetensors").is_file()


def test_a_trial_is_the_training_of_train_bit_for_bit(run):
    write()
    run("sweep", "sweep.toml", "--quiet")
    for trial in results.read("sweep.jsonl")[1][:3]:
        command = words.command(trial.config)
        code, out, _ = run("train", *command)
        assert code == 0
        losses = [float(value) for value in re.findall(r"val_accuracy ([\d.]+)", out)]
        np.testing.assert_allclose(losses, trial.curve, atol=1e-4)
        assert number("Validation  ", out) == 30


def test_tables_are_read_as_by_train_and_scored_in_their_own_unit(run):
    Path("houses.csv").write_text(houses(200))
    write("""
        [data]
        source = "houses.csv"
        target = "price"
        validation = 0.25
        split-seed = 3
        [space]
        batch-norm = [true, false]
        batch-size = {from = 8, to = 32}
        [fixed]
        lr = 0.01
        hidden = "16"
        epochs = 12
        [sweep]
        search = "sobol"
        trials = 4
        metric = "val_rmse"
        """)
    code, out, _ = run("sweep", "sweep.toml", "--quiet")
    assert code == 0
    assert "50 rows of 200 (seed 3)" in out
    trials = results.read("sweep.jsonl")[1]
    assert all(5_000 < trial.value < 400_000 and 8 <= trial.config["batch-size"] <= 32 for trial in trials)
    best = min(trials, key=lambda trial: trial.value)
    command = best_command(out)
    assert {"--target", "--split-seed", "--validation"} < set(command)
    assert ("--batch-norm" in command) == best.config["batch-norm"]
    _, out, _ = run(*command)
    assert number("validation RMSE", out) == pytest.approx(best.value, rel=1e-5)


def test_processes_and_threads_give_the_same_bits(run):
    write()
    run("sweep", "sweep.toml", "--quiet", "--results", "threads.jsonl", "--workers", 1)
    write(a=("workers = 2", 'workers = 2\nexecutor = "processes"'))
    code, out, _ = run("sweep", "sweep.toml", "--quiet", "--results", "processes.jsonl")
    assert code == 0
    assert "8 finished" in out
    assert outcomes("threads.jsonl") == outcomes("processes.jsonl")


def test_searches_of_optuna_and_pruning_are_to_be_had(run):
    pytest.importorskip("optuna")
    write(a=("lr = [0.1, 0.01]", "lr = {from = 1e-4, to = 0.5, log = true}"),
          b=("workers = 2", 'search = "tpe"\ntrials = 12\nprune = "asha"'))  # fmt: skip
    code, out, _ = run("sweep", "sweep.toml", "--quiet", "--dry-run")
    assert (code, Path("sweep.jsonl").exists()) == (0, False)
    assert "12 trainings, tpe search of lr, hidden, 2 seeds each, pruned by asha" in out
    code, out, _ = run("sweep", "sweep.toml", "--quiet")
    assert code == 0
    statuses = [status for status, _ in outcomes().values()]
    assert statuses.count("finished") + statuses.count("pruned") == 12
    assert best_command(out)


def test_dry_run_says_what_would_be_trained_and_trains_nothing(run):
    write()
    code, out, err = run("sweep", "sweep.toml", "--dry-run", "--trials", 3)
    assert code == 0
    assert err == ""
    assert "3 trainings" in out
    first = out[out.index("First") :].splitlines()
    assert [line.removeprefix("First").strip() for line in first] == [
        "lr 0.1, hidden 8, seed 0", "lr 0.1, hidden 8, seed 1", "lr 0.1, hidden 4, seed 0",
    ]  # fmt: skip
    assert not Path("sweep.jsonl").exists()


def test_trainings_that_diverge_leave_exit_code_1_when_there_are_no_others(run):
    write(a=("lr = [0.1, 0.01]", "lr = [1e30]"), b=("epochs = 6", 'epochs = 6\noptimizer = "sgd"\nactivation = "relu"'))
    code, out, err = run("sweep", "sweep.toml", "--quiet")
    assert code == 1
    assert "4 diverged" in out
    assert err.splitlines()[-1] == "fastnn sweep: error: no training finished"


# Resuming.


def test_resume_trains_what_is_left_and_refuses_another_sweep(run, fails):
    write()
    run("sweep", "sweep.toml", "--quiet", "--trials", 3)
    before = outcomes()
    assert len(before) == 3
    assert "sweep.jsonl exists: --resume goes on with it" in fails("sweep", "sweep.toml", "--quiet")
    code, out, _ = run("sweep", "sweep.toml", "--quiet", "--resume")
    assert code == 0
    assert "8 done" in out
    assert before.items() <= outcomes().items()
    kept = Path("sweep.jsonl").read_bytes()
    for change in (("epochs = 6", "epochs = 7"), ("0.01]", "0.02]"), ('"val_accuracy"', '"val_loss"'),
                   ('source = "iris"', 'source = "iris"\nvalidation = 0.3')):  # fmt: skip
        write(a=change)
        assert "is of another sweep" in fails("sweep", "sweep.toml", "--quiet", "--resume")
    assert Path("sweep.jsonl").read_bytes() == kept


def test_the_file_can_say_resume(run):
    write(a=("workers = 2", 'workers = 2\nresume = true\nresults = "other.jsonl"'))
    assert run("sweep", "sweep.toml", "--quiet", "--trials", 2)[0] == 0
    code, out, _ = run("sweep", "sweep.toml", "--quiet", "--trials", 4)
    assert code == 0
    assert "4 done" in out
    assert len(outcomes("other.jsonl")) == 4


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_ctrl_c_ends_in_good_order_and_says_how_to_go_on(run, tmp_path, executor):
    # The first training is short, the second one would not end.
    write(a=("seed = [0, 1]", "epochs = [1, 10_000_000]"), b=("epochs = 6", "patience = 0"),
          c=("workers = 2", f'executor = "{executor}"'), d=("lr = [0.1, 0.01]", "lr = [0.01]"))  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "fastnn", "sweep", "sweep.toml", "--workers", "1"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    while not Path("sweep.jsonl").exists() or Path("sweep.jsonl").read_bytes().count(b"\n") < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert "1 done: 1 finished" in out
    assert "sweep.jsonl keeps what is done; to go on:" in out
    assert "python -m fastnn sweep sweep.toml --workers 1 --resume" in out
    _, shown, _ = run("sweep", "--show", "sweep.jsonl")
    assert "1 done: 1 finished" in shown
    code, out, _ = run("sweep", "sweep.toml", "--resume", "--trials", 1, "--quiet")
    assert (code, len(outcomes())) == (0, 1)


# Showing.


def test_show_reports_without_data_and_while_the_last_line_is_half_written(run):
    Path("people.csv").write_text(people(200))
    write(a=('source = "iris"', 'source = "people.csv"\ntarget = "rich"'))
    _, reported, _ = run("sweep", "sweep.toml", "--quiet")
    Path("people.csv").unlink()
    code, out, err = run("sweep", "--show", "sweep.jsonl")
    assert (code, err) == (0, "")
    assert "8 done: 8 finished" in out
    assert best_command(out) == best_command(reported)
    lines = Path("sweep.jsonl").read_bytes().splitlines(keepends=True)
    Path("sweep.jsonl").write_bytes(b"".join(lines[:5]) + lines[5][:40])
    before = Path("sweep.jsonl").read_bytes()
    code, out, _ = run("sweep", "--show", "sweep.jsonl")
    assert code == 0
    assert "4 done: 4 finished" in out
    assert Path("sweep.jsonl").read_bytes() == before
    Path("sweep.jsonl").write_bytes(lines[0])
    code, out, _ = run("sweep", "sweep.jsonl", "--show")
    assert (code, out) == (0, "Trials      none is done yet\n")


def test_show_names_failed_trials_with_the_last_line_of_their_error(run):
    def train(config, budget, report):
        if config["a"] == 2:
            raise ZeroDivisionError("two is none of ours")
        return float("nan") if config["a"] == 3 else 1.0 / config["a"]

    run()
    fnn.sweep(train, fnn.Space(a=[1, 2, 3, 4], b=["same"]), results="own.jsonl", progress=False)
    code, out, _ = run("sweep", "--show", "own.jsonl")
    assert code == 0
    assert "4 done: 2 finished, 1 diverged, 1 failed" in out
    assert re.search(r"Failed      trial \d \(a 2\): ZeroDivisionError: two is none of ours$", out, re.MULTILINE)
    assert re.search(r"Best        loss 0.25 with a 4$", out, re.MULTILINE)
    assert "same" not in out
    assert "fastnn train" not in out


def test_show_has_the_best_training_where_no_configuration_has_all_of_its_repeats(run):
    write()
    run("sweep", "sweep.toml", "--quiet", "--trials", 1)
    _, out, _ = run("sweep", "--show", "sweep.jsonl")
    assert "no configuration has finished all of its 2 trainings" in out
    assert best_command(out)[-4:-2] == ["--seed", "0"]


def test_show_refuses_what_is_no_results_file(run, fails):
    write()
    assert "sweep.toml: is no results file of a sweep" in fails("sweep", "--show", "sweep.toml")
    assert "none.jsonl: No such file" in fails("sweep", "--show", "none.jsonl")
    Path("empty.jsonl").touch()
    assert "empty.jsonl: is empty" in fails("sweep", "--show", "empty.jsonl")
    assert "--workers means nothing with --show" in fails("sweep", "--show", "x.jsonl", "--workers", 2)
    assert "must end in one of" in fails("sweep", "--show", "x.jsonl", "--plot", "x.txt")
    run("sweep", "sweep.toml", "--quiet", "--trials", 1)
    assert "holds the results of a sweep: --show" in fails("sweep", "sweep.jsonl")


def test_a_picture_is_drawn_where_one_is_asked_for(run):
    pytest.importorskip("matplotlib")
    write()
    _, out, _ = run("sweep", "sweep.toml", "--quiet", "--trials", 2, "--plot", "sweep.png")
    assert "Plotted     sweep.png" in out
    assert Path("sweep.png").read_bytes().startswith(b"\x89PNG")
    _, out, _ = run("sweep", "--show", "sweep.jsonl", "--plot", "shown.svg")
    assert "Plotted     shown.svg" in out
    picture = Path("shown.svg").read_text()
    assert "hidden" in picture
    assert "fastnn train" not in picture  # what all configurations share has no panel


# Mistakes.


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[fixed]", "[fixd]", "sweep.toml: unknown table 'fixd': did you mean 'fixed'?"),
        ('[data]\nsource = "iris"', 'data = "iris"', 'data = "iris": expected a table, [data]'),
        ("epochs = 6", "epochs = ", "sweep.toml is not TOML: "),
        ("epochs = 6", "epoch = 6", "[fixed] unknown option 'epoch': did you mean 'epochs'?"),
        ("epochs = 6", "batch_size = 6", "did you mean 'batch-size'?"),
        ("epochs = 6", 'epochs = "6"', '[fixed] epochs = "6": expected a whole number'),
        ("epochs = 6", "epochs = 0", "[fixed] --epochs: 0: must be at least 1"),
        ("epochs = 6", "epochs = true", "[fixed] epochs = true: expected a whole number"),
        ("epochs = 6", "batch-norm = 1", "[fixed] batch-norm = 1: expected true or false"),
        ("epochs = 6", "threads = 2", "[fixed] threads: each training has one thread; workers"),
        ("epochs = 6", "momentum = 0.9", "--momentum: the optimizer 'adam' has none"),
        ("epochs = 6", 'optimizer = "adm"', "unknown optimizer 'adm': did you mean 'adam'?"),
        ("epochs = 6", "dropout = 1.5", "rate must be"),
        ("epochs = 6", "lr = 0.1", "lr is in [space] and in [fixed]"),
        ("epochs = 6", 'loss = "mse"', "--loss mse does not fit the task classify"),
        ("lr = [0.1, 0.01]", "lr = []", "[space] lr = []: has no values"),
        ("lr = [0.1, 0.01]", "lr = [0.1, 0.1]", "has a value twice"),
        ("lr = [0.1, 0.01]", "lr = 0.1", "one value belongs in [fixed]"),
        ("lr = [0.1, 0.01]", 'lr = [0.1, "x"]', '[space] lr = "x": expected a number'),
        ("lr = [0.1, 0.01]", "lr = [0.1, -1]", "lr must be above 0"),
        ("lr = [0.1, 0.01]", "lr = [nan]", "nan is not finite"),
        ("lr = [0.1, 0.01]", "lr = {from = 1, to = 0.1}", "from must be below to"),
        ("lr = [0.1, 0.01]", "lr = {from = 0, to = 0.1, log = true}", "from must be above 0 for a logarithm"),
        ("lr = [0.1, 0.01]", "lr = {from = 0.1}", "a range has both from and to"),
        ("lr = [0.1, 0.01]", "lr = {low = 0.1, to = 2}", "unknown lr key 'low'"),
        ("lr = [0.1, 0.01]", "lr = {from = 0.1, to = 1}", "a grid needs lists"),
        ("lr = [0.1, 0.01]", 'momentum = [0.9]\noptimizer = ["sgd", "adam"]', "the optimizer 'adam' has none"),
        ("lr = [0.1, 0.01]", "batch-size = {from = 1.5, to = 4}", "expected whole numbers"),
        ("lr = [0.1, 0.01]", 'optimizer = {from = 1, to = 2}', "a range is of numbers, expected a list"),
        ("lr = [0.1, 0.01]", 'dtype = ["float32"]', "dtype: belongs in [fixed]"),
        ("lr = [0.1, 0.01]", 'loss = ["cross_entropy", "focal"]\nlr = [0.1]', None),
        ('hidden = ["8", 4]', "hidden = [[64, 32]]", "hidden = [64, 32]: expected a text or a number"),
        ('hidden = ["8", 4]', 'hidden = ["8", "x"]', "[space] --hidden: 'x' is not a whole number"),
        ("seed = [0, 1]", "seed = {from = 0, to = 3}", "expected a list of seeds"),
        ('source = "iris"', "", "[data] source is missing"),
        ('source = "iris"', "source = 3", "[data] source = 3: expected a bundled set or a file"),
        ('source = "iris"', 'source = "irs"', "did you mean the bundled data set 'iris'"),
        ('source = "iris"', 'source = "iris"\ntarget = "x"', "--target means nothing here"),
        ('source = "iris"', 'source = "iris"\nscal = "x"', "[data] unknown option 'scal': did you mean 'scale'?"),
        ('source = "iris"', 'source = "iris"\nscale = "x"', "[data] --scale: invalid choice: 'x'"),
        ('source = "iris"', 'source = "iris"\nvalidation = 2', "a share must be above 0 and below 1"),
        ("workers = 2", "worker = 2", "[sweep] unknown key 'worker': did you mean 'workers'?"),
        ("workers = 2", "workers = 0", "[sweep] workers = 0: expected a whole number from 1"),
        ("workers = 2", 'search = "rando"', "[sweep] unknown search 'rando': did you mean 'random'?"),
        ("workers = 2", 'search = "random"', "say how many trainings: trials = ..., or --trials"),
        ("workers = 2", 'prune = "ash"', "[sweep] unknown prune 'ash': did you mean 'asha'?"),
        ("workers = 2", 'executor = "thread"', "unknown executor 'thread': did you mean 'threads'?"),
        ("workers = 2", 'results = "no/where.jsonl"', "there is no folder 'no'"),
        ("workers = 2", 'plot = "a.txt"', "the name must end in one of"),
        ("workers = 2", 'resume = "yes"', '[sweep] resume = "yes": expected true or false'),
        ('metric = "val_accuracy"', 'metric = "val_acuracy"', "'val_acuracy': did you mean 'val_accuracy'?"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_nothing_is_trained(run, fails, old, new, message):
    run()
    write(a=(old, new))
    if message is None:
        message = "cannot compare trainings whose losses differ"
        write(Path("sweep.toml").read_text(), a=("val_accuracy", "val_loss"))
    line = fails("sweep", "sweep.toml")
    assert message in line
    assert not Path("sweep.jsonl").exists()


@pytest.mark.parametrize(
    ("module", "new", "message"),
    [
        ("optuna", 'search = "tpe"\ntrials = 2', "needs optuna: pip install 'fastnn[sweeps]'"),
        ("optuna", 'prune = "median"', "needs optuna: pip install 'fastnn[sweeps]'"),
        ("scipy.stats", 'search = "sobol"\ntrials = 2', "needs scipy: pip install 'fastnn[sweeps]'"),
        ("scipy.special", "", "confidence intervals need scipy: pip install 'fastnn[sweeps]'"),
    ],
)
def test_packages_that_are_missing_are_said_before_anything_is_trained(run, fails, monkeypatch, module, new, message):
    run()
    write(a=("workers = 2", new))
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "fastnn.sweeps.studies", raising=False)
    assert message in fails("sweep", "sweep.toml")
    assert not Path("sweep.jsonl").exists()


def test_a_file_that_is_missing_is_said(fails):
    assert "cannot read none.toml: no such file" in fails("sweep", "none.toml")
    assert "the following arguments are required: FILE" in fails("sweep")


def test_every_option_about_data_can_stand_in_the_file():
    given = {
        "source": "x.csv", "target": -1, "task": "regress", "drop": ["a", 3], "header": False, "delimiter": ";",
        "missing": ["-", "none"], "validation": "v.csv", "max-categories": 7, "scale": "none", "features": "X",
        "labels": "y.gz",
    }  # fmt: skip
    text = words.data_words(given)
    options = words.options_of({words.DATA: text})
    assert (options.data, options.target, options.drop) == ("x.csv", "-1", ("a", "3"))
    assert (options.header, options.delimiter, options.missing) == (False, ";", ["-", "none"])
    assert "--split-seed" not in text
    assert "--split-seed 0" in words.data_words({"source": "x.csv"})
    assert words.options_of({words.DATA: words.data_words({"source": "x", "header": True})}).header is True


def test_the_values_of_a_space_come_back_from_the_words_as_they_were():
    for value in (1e-300, 0.1 + 0.2, 12345678.9, 5e-324, 3):
        assert words.options_of({words.DATA: "iris", "lr": value}).lr == value
    options = words.options_of({words.DATA: "iris", "hidden": "none", "batch-norm": True, "batch-size": 3})
    assert (options.hidden, options.batch_norm, options.batch_size) == ((), True, 3)


def test_the_example_of_the_documentation_is_understood(tmp_path):
    text = (Path(__file__).parents[1] / "docs" / "sweeps.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "sweep.toml").write_text(example)
    asked = sweepfile.read(str(tmp_path / "sweep.toml"))
    assert (asked.trials, asked.prune, asked.resume) == (60, "asha", True)
    assert json.dumps(asked.space.describe())
