"""Sweeps in threads of this process: spaces, searches, results files, what becomes of trials that go wrong."""

import itertools
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sweeping
from sweeping import DATA, build, value_of

import fastnn as fnn
from fastnn.interrupts import unbroken
from fastnn.sweeps import ResultsError, results
from fastnn.sweeps.space import Choice, Integers, Range
from fastnn.sweeps.summary import last_line, student_t
from fastnn.sweeps.trials import Trial

VALUES = fnn.Space(value=[3.0, 1.0, 2.0])


def of(result: fnn.SweepResult) -> dict[str, tuple[Any, ...]]:
    """What came of each trial, as bits."""
    return {trial.key: (trial.status, trial.value.hex(), *[v.hex() for v in trial.curve]) for trial in result.trials}


# Spaces.


def test_a_grid_is_every_combination_with_all_repeats() -> None:
    space = fnn.Space(a=[1, 2], b=["x", None], c=0.5, seed=range(3))
    assert list(space.grid()) == [{"a": a, "b": b, "c": 0.5} for a in (1, 2) for b in ("x", None)]
    assert space.repeats == ({"seed": 0}, {"seed": 1}, {"seed": 2})
    seen = []

    def train(config: dict[str, Any], budget: int | None, report: Any) -> float:
        seen.append(tuple(config.values()))
        return 0.0

    fnn.sweep(train, space, workers=1, progress=False)
    assert seen == [(a, b, 0.5, s) for a, b, s in itertools.product((1, 2), ("x", None), range(3))]


def test_ranges_reach_from_end_to_end_and_spread_as_they_say() -> None:
    u = np.linspace(0, 1, 10_001)[:-1]
    assert Range(2.0, 4.0).at(0.5) == 3.0
    assert math.isclose(Range(1e-4, 1e-2, log=True).at(0.5), 1e-3)
    for given in (Range(-1.0, 5.0), Range(1e-7, 3.0, log=True)):
        values = [given.at(x) for x in (*u, 1.0)]
        assert (values[0], values[-1]) == (given.low, given.high)
        assert values == sorted(values)
    counts = np.bincount([Integers(3, 7).at(x) for x in u])
    assert counts[3:].tolist() == [2000] * 5
    counts = np.bincount([Integers(1, 100, log=True).at(x) for x in u])
    assert len(counts) == 101
    assert counts[1] > 4 * counts[5] > 0
    assert {Choice(("a", "b", "c")).at(x) for x in u} == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fnn.Space(), ValueError, "names nothing to vary"),
        (lambda: fnn.Space(seed=range(3)), ValueError, "names nothing to vary"),
        (lambda: fnn.Space(lr=[]), ValueError, r"Space\(lr=\[\]\): has no values"),
        (lambda: fnn.Space(lr=[0.1, 0.1]), ValueError, r"Space\(lr=...\): .* has a value twice"),
        (lambda: fnn.Space(lr=[math.nan]), ValueError, "nan is not finite"),
        (lambda: fnn.Space(optimizer=[fnn.Adam()]), TypeError, "expected strings, numbers, booleans or None"),
        (lambda: fnn.Space(lr=fnn.uniform(1, 1)), ValueError, "low must be below high"),
        (lambda: fnn.Space(lr=fnn.log_uniform(0, 1)), ValueError, "low must be above 0 for a logarithm"),
        (lambda: fnn.Space(lr=fnn.uniform("a", 1)), TypeError, "low must be a number"),
        (lambda: fnn.Space(width=fnn.integers(1.5, 3)), TypeError, "low must be an integer"),
        (lambda: fnn.Space(lr=[1], seed=fnn.integers(0, 9)), ValueError, "expected a list of seeds"),
    ],
)
def test_a_space_that_is_none_is_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("search", ["random", "sobol"])
def test_a_search_proposes_the_same_for_a_seed_and_more_for_more_trials(search: str) -> None:
    space = fnn.Space(value=fnn.log_uniform(1e-3, 1.0), width=fnn.integers(1, 50), mix=["a", "b"])

    def proposed(trials: int, seed: int, workers: int) -> list[dict[str, Any]]:
        result = fnn.sweep(
            value_of, space, search=search, trials=trials, seed=seed, workers=workers, progress=False
        )  # fmt: skip
        return [trial.config for trial in sorted(result.trials, key=lambda trial: trial.number)]

    assert proposed(8, 3, 1) == proposed(16, 3, 2)[:8]
    assert proposed(8, 3, 1) != proposed(8, 4, 1)


def test_sobol_fills_the_cube_more_evenly_than_chance() -> None:
    space = fnn.Space(value=fnn.uniform(0, 1), other=fnn.uniform(0, 1))
    result = fnn.sweep(value_of, space, search="sobol", trials=64, progress=False)
    boxes = {(int(trial.config["value"] * 8), int(trial.config["other"] * 8)) for trial in result.trials}
    assert len(boxes) == 64


# Trials.


def test_a_trial_is_the_fit_that_it_says() -> None:
    space = fnn.Space(lr=[0.1, 0.5], width=[4, 8], seed=range(2))
    result = fnn.sweep(build, space, **DATA, workers=2, progress=False)
    assert len(result.trials) == 8
    for trial in result.trials:
        model, given = build(trial.config)
        history = model.fit(**DATA, **given, progress=False)
        assert trial.curve == tuple(history["val_loss"])
        assert trial.value == history["val_loss"][-1]
        assert trial.scores["val_accuracy"] == history["val_accuracy"][-1]
        assert trial.status == "finished"


def test_a_training_that_keeps_the_weights_of_an_earlier_epoch_counts_with_that_one() -> None:
    def stopped(config: dict[str, Any]) -> tuple[fnn.Sequential, dict[str, Any]]:
        model, given = build(config)
        return model, {**given, "epochs": 200, "callbacks": [fnn.EarlyStopping(3)]}

    (trial,) = fnn.sweep(stopped, fnn.Space(lr=[3.0]), **DATA, metric="val_accuracy", progress=False).trials
    model, given = stopped({"lr": 3.0})
    model.fit(**DATA, **given, progress=False)
    assert trial.scores["epoch"] == len(trial.curve) - 3
    assert trial.value == trial.curve[-4] == model.evaluate(*DATA["validation_data"], metrics=("accuracy",))["accuracy"]


def test_64_trials_are_the_same_bits_with_any_number_of_workers_in_any_order() -> None:
    space = fnn.Space(lr=[0.05, 0.1, 0.2, 0.4], width=[4, 8], seed=range(8))
    one = fnn.sweep(build, space, **DATA, workers=1, progress=False)
    backwards = fnn.Space(lr=[0.4, 0.2, 0.1, 0.05], width=[8, 4], seed=[*range(7, -1, -1)])
    assert len(of(one)) == 64
    assert of(one) == of(fnn.sweep(build, space, **DATA, workers=4, progress=False))
    assert of(one) == of(fnn.sweep(build, backwards, **DATA, workers=3, progress=False))


def test_the_budget_is_the_epochs_of_build_and_an_argument_of_train() -> None:
    result = fnn.sweep(build, fnn.Space(lr=[0.1]), **DATA, budget=7, progress=False)
    assert len(result.trials[0].curve) == 7
    result = fnn.sweep(sweeping.curve_of, VALUES, budget=5, progress=False)
    assert [len(trial.curve) for trial in result.trials] == [5] * 3
    assert all(trial.scores["steps"] == 5 for trial in result.trials)


def test_an_objective_that_is_larger_when_better() -> None:
    result = fnn.sweep(build, fnn.Space(lr=[1e-4, 0.5]), **DATA, metric="val_accuracy", progress=False)
    assert result.larger_is_better
    assert result.best.mean == max(trial.value for trial in result.trials)
    assert fnn.sweep(value_of, VALUES, mode="max", progress=False).best.config == {"value": 3.0}


def test_trials_that_raise_or_diverge_are_recorded_and_the_sweep_goes_on() -> None:
    space = fnn.Space(value=[1.0, 2.0], what=["raise", "diverge", None])
    result = fnn.sweep(value_of, space, progress=False)
    assert result.counts == {"finished": 2, "diverged": 2, "failed": 2}
    for trial in result.trials:
        if trial.status == "failed":
            assert "ZeroDivisionError: as the configuration says" in (trial.error or "")
            assert "sweeping.py" in (trial.error or "")
        assert math.isfinite(trial.value) == (trial.status == "finished")
    assert result.best.config == {"value": 1.0, "what": None}


@pytest.mark.parametrize(
    "error", [GeneratorExit("odd"), SystemExit(3), fnn.TrialStopped("its own"), BaseException("odd")]
)
def test_whatever_a_training_raises_is_its_own_failure(error: BaseException) -> None:
    def train(config: dict[str, Any], budget: int | None, report: Any) -> float:
        if config["value"] == 1.0:
            raise error
        return float(config["value"])

    result = fnn.sweep(train, VALUES, progress=False)
    assert result.counts == {"finished": 2, "failed": 1}
    (failed,) = [trial for trial in result.trials if trial.status == "failed"]
    assert type(error).__name__ in (failed.error or "")


def test_a_loss_that_is_no_longer_finite_is_diverged_and_not_the_best() -> None:
    def linear(config: dict[str, Any]) -> tuple[fnn.Sequential, dict[str, Any]]:
        model = fnn.Sequential([fnn.Dense(1)], inputs=8)
        return model, {"loss": "mse", "optimizer": fnn.SGD(config["lr"]), "epochs": 50, "batch_size": 16}

    result = fnn.sweep(linear, fnn.Space(lr=[0.01, 1e6]), DATA["X"], DATA["X"][:, 0], progress=False)
    assert [(trial.config["lr"], trial.status) for trial in sorted(result.trials, key=lambda t: t.number)] == [
        (0.01, "finished"), (1e6, "diverged"),
    ]  # fmt: skip
    assert result.best.config == {"lr": 0.01}
    nothing = fnn.sweep(linear, fnn.Space(lr=[1e6, 1e7]), DATA["X"], DATA["X"][:, 0], progress=False)
    with pytest.raises(ValueError, match=r"no configuration finished all .* the trials are \{.diverged.: 2\}"):
        _ = nothing.best


def test_what_build_and_train_return_is_checked() -> None:
    def returns(value: Any) -> Any:
        return lambda config: value

    result = fnn.sweep(returns(3), fnn.Space(a=[1]), **DATA, progress=False)
    assert "build returned int: expected a Sequential" in (result.trials[0].error or "")

    result = fnn.sweep(build, fnn.Space(lr=[0.1]), **DATA, metric="val_f2", mode="max", progress=False)
    assert "'val_f2' is no column of the history, which has " in (result.trials[0].error or "")
    assert "val_loss, val_accuracy" in (result.trials[0].error or "")

    def no_objective(config: Any, budget: Any, report: Any) -> dict[str, float]:
        return {"accuracy": 1.0}

    result = fnn.sweep(no_objective, fnn.Space(a=[1]), progress=False)
    assert "train returned accuracy: the objective 'loss' is not among them" in (result.trials[0].error or "")


def test_steps_that_are_reported_are_counted_from_one() -> None:
    def from_zero(config: dict[str, Any], budget: int | None, report: Any) -> float:
        for epoch in range(3):
            report(1.0, epoch)  # the first one could not be pruned, nor be seen
        return 1.0

    (trial,) = fnn.sweep(from_zero, fnn.Space(a=[1]), progress=False).trials
    assert "report(step=0): step must be at least 1" in (trial.error or "")


# Repeats.


def test_repeats_are_reported_together() -> None:
    def noisy(config: dict[str, Any], budget: int | None, report: Any) -> float:
        if config["value"] == 9.0 and config["seed"] == 2:
            raise RuntimeError
        return float(config["value"] + config["seed"])

    space = fnn.Space(value=[5.0, 1.0, 9.0], seed=range(4))
    result = fnn.sweep(noisy, space, progress=False)
    best = result.best
    assert [group.config["value"] for group in result.groups] == [1.0, 5.0, 9.0]
    assert (best.values, best.mean, best.status) == ([1.0, 2.0, 3.0, 4.0], 2.5, "finished")
    assert best.std == statistics.stdev([1, 2, 3, 4])
    half = 3.182446305 * best.std / 2  # t of 3 degrees of freedom
    np.testing.assert_allclose(best.interval, (2.5 - half, 2.5 + half), rtol=1e-8)
    assert (result.groups[-1].status, len(result.groups[-1].values)) == ("failed", 3)
    table = result.table().splitlines()
    assert table[0].split() == ["value", "loss", "std", "95%", "interval", "trials", "status"]
    assert table[1].split() == ["1", "2.5", "1.291", "0.4457", "to", "4.554", "4/4", "finished"]
    assert table[3].split()[-2:] == ["3/4", "failed"]
    assert result.table(limit=1).splitlines()[-1] == "and 2 more"


def test_students_t_is_that_of_the_tables() -> None:
    np.testing.assert_allclose([student_t(n) for n in (1, 4, 30)], [12.7062, 2.7764, 2.0423], rtol=1e-4)


def test_the_frame_has_a_row_for_each_trial() -> None:
    space = fnn.Space(value=[1.0, 2.0], status=["x"], seed=range(2))
    frame = fnn.sweep(value_of, space, progress=False).to_frame().sort_index()
    assert frame.index.tolist() == [0, 1, 2, 3]
    assert frame["config.value"].tolist() == [1.0, 1.0, 2.0, 2.0]
    assert frame["value"].tolist() == [1.0, 1.0, 2.0, 2.0]
    assert frame["status"].unique().tolist() == ["finished"]
    assert frame["seed"].tolist() == [0, 1, 0, 1]


# Results files.


def test_each_trial_is_a_line_and_resume_passes_by_what_is_done(tmp_path: Path) -> None:
    path, calls = tmp_path / "sweep.jsonl", []

    def counted(config: dict[str, Any], budget: int | None, report: Any) -> float:
        calls.append(config["value"])
        return float(config["value"])

    space = fnn.Space(value=fnn.uniform(0, 1))
    first = fnn.sweep(counted, space, search="random", trials=5, results=path, progress=False)
    assert len(path.read_text().splitlines()) == 6
    again = fnn.sweep(counted, space, search="random", trials=8, results=path, resume=True, progress=False)
    assert len(calls) == 8
    assert of(first).items() <= of(again).items()
    assert [trial.number for trial in again.trials] == [*range(8)] or len({t.number for t in again.trials}) == 8
    header, found = results.read(path)
    assert header["space"] == {"value": ["Range", 0.0, 1.0, False]}
    assert [trial.line() for trial in found] == [trial.line() for trial in again.trials]
    assert all(re.fullmatch(r"fastnn \S+, \S+counted [0-9a-f]{12}", trial.version) for trial in found)


def test_trials_come_back_from_their_lines_as_they_were() -> None:
    trial = Trial(
        3, {"a": None, "seed": 2}, 7, "diverged", math.nan, {"x": math.inf}, (1.5, -math.inf), 0.25, "why", 2, "v"
    )
    line = trial.line()
    assert json.loads(line)["key"] == trial.key
    again = Trial.from_line(line)
    assert again.line() == line
    assert (again.config, again.scores, again.curve) == (trial.config, trial.scores, trial.curve)
    assert math.isnan(again.value)


def test_trials_are_found_again_by_configuration_seed_and_budget() -> None:
    given = [({"a": 1, "seed": 0}, 1), ({"a": 1, "seed": 1}, 1), ({"a": 1, "seed": 0}, 2), ({"a": 1.0, "seed": 0}, 1)]
    assert len({Trial(0, config, budget).key for config, budget in given}) == 4
    assert Trial(0, {"a": 1, "seed": 0}, 1).key == Trial(7, {"seed": 0, "a": 1}, 1, "failed").key


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    fnn.sweep(value_of, VALUES, results=path, progress=False)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for left in (1, len(lines[-1]) // 2, len(lines[-1]) - 1):
        path.write_bytes(whole[: len(whole) - len(lines[-1]) + left])
        result = fnn.sweep(value_of, VALUES, results=path, resume=True, progress=False)
        assert len(result.trials) == 3
        assert len(path.read_bytes().splitlines()) == 4
        assert [len(results.read(path)[1]), path.read_bytes()[-1:]] == [3, b"\n"]
    path.write_bytes(lines[0][:10])  # even the first one
    assert len(fnn.sweep(value_of, VALUES, results=path, resume=True, progress=False).trials) == 3


def test_trials_of_other_code_are_kept_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    before = fnn.sweep(value_of, VALUES, results=path, progress=False)

    def changed(config: dict[str, Any], budget: int | None, report: Any) -> float:
        return -float(config["value"])

    with pytest.warns(
        UserWarning, match=r"3 of its 3 trials were trained by other code \(fastnn .* value_of .*changed"
    ):
        after = fnn.sweep(changed, VALUES, results=path, resume=True, progress=False)
    assert after.trials == before.trials
    # Of code that nobody can read, nobody knows whether it is another.
    path.write_text(re.sub("value_of [0-9a-f]+", "value_of unknown", path.read_text()))
    fnn.sweep(changed, VALUES, results=path, resume=True, progress=False)


def test_the_result_says_why_trials_failed() -> None:
    def fails(config: dict[str, Any], budget: int | None, report: Any) -> float:
        if config["value"] == 3.0:
            raise KeyError("another reason")
        raise ValueError("no such column\nin this table")

    result = fnn.sweep(fails, VALUES, progress=False)
    assert result.reason == "in this table"
    assert repr(result) == "<SweepResult: 3 failed; finished; most often: in this table>"
    assert last_line("Error: \x1b[31mred\x07") == "Error: ?[31mred?"
    with pytest.raises(ValueError, match=r"the trials are {'failed': 3}; most often: in this table"):
        _ = result.best
    assert fnn.sweep(value_of, VALUES, progress=False).reason is None


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("left", ["", '{"fastnn s', '{"fastnn sweep": 1, "space": {"other": ["Choice", [1]]}', "whole"])
def test_a_file_without_a_trial_is_begun_anew(left: str, resume: bool, tmp_path: Path) -> None:
    """Such as that of a sweep that could not start its workers."""
    path = tmp_path / "sweep.jsonl"
    fnn.sweep(value_of, VALUES, results=path, progress=False)
    header = path.read_text().splitlines()[0]
    path.write_text(f"{header}\n" if left == "whole" else left)
    assert len(fnn.sweep(value_of, VALUES, results=path, resume=resume, progress=False).trials) == 3
    assert path.read_text().splitlines()[0] == header
    assert len(results.read(path)[1]) == 3


@pytest.mark.parametrize("text", ["notes", "notes\n", '{"precious": 1}', '{"fastnn swept": 1}', "\n\n"])
@pytest.mark.parametrize("resume", [False, True])
def test_a_file_of_something_else_is_left_as_it_is(resume: bool, text: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(ResultsError, match="is no results file of a sweep" if resume else "exists; resume=True"):
        fnn.sweep(value_of, VALUES, results=path, resume=resume, progress=False)
    assert path.read_text() == text


def test_failed_trials_are_tried_again_when_their_lines_are_taken_out(tmp_path: Path) -> None:
    path, seen = tmp_path / "sweep.jsonl", []

    def train(config: dict[str, Any], budget: int | None, report: Any) -> float:
        seen.append(config["value"])
        if config["value"] == 1.0 and len(seen) <= 6:
            raise ValueError('"status": "finished"')
        return float(config["value"])

    space = fnn.Space(value=[3.0, 1.0, 2.0], seed=[0, 1])
    for _ in range(2):  # as they are, they count as done
        result = fnn.sweep(train, space, results=path, resume=True, progress=False)
        assert (len(seen), result.counts) == (6, {"finished": 4, "failed": 2})
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"status": "failed"' not in line))
    result = fnn.sweep(train, space, results=path, resume=True, progress=False)
    assert (seen[6:], result.counts) == ([1.0, 1.0], {"finished": 6})
    assert len({trial.number for trial in result.trials}) == 6


def test_files_that_are_not_of_this_sweep_are_refused_before_anything_runs(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    fnn.sweep(value_of, VALUES, results=path, progress=False)
    before = path.read_bytes()

    def never(config: Any, budget: Any, report: Any) -> float:
        raise AssertionError

    def refused(match: str, space: fnn.Space = VALUES, resume: bool = True, **given: Any) -> None:
        with pytest.raises(ResultsError, match=match):
            fnn.sweep(never, space, results=path, resume=resume, progress=False, **given)
        assert path.read_bytes() == before

    refused("exists; resume=True goes on with it", resume=False)
    refused('is of another sweep: its space is .*, now {"value": .*"Choice", \\[1.0\\]', fnn.Space(value=[1.0]))
    refused('its mode is "min", now "max"', mode="max")
    refused('its metric is "loss", now "val_loss"', metric="val_loss")
    refused("its budget is null, now 3", budget=3)
    path.write_bytes(before.replace(b'"value": 1.0', b'"value": ', 1))
    before = path.read_bytes()
    refused("sweep.jsonl, line .: no trial: ")
    path.write_text('{"a": 1}\n')
    before = path.read_bytes()
    refused("is no results file of a sweep")
    with pytest.raises(ResultsError, match=r"results='.*nowhere.*': No such file"):
        fnn.sweep(never, VALUES, results=tmp_path / "nowhere" / "x", progress=False)
    with pytest.raises(ResultsError, match="is no file that could be read again"):
        fnn.sweep(never, VALUES, results="/dev/null", progress=False)
    with pytest.raises(TypeError, match=r"sweep\(results=5\): expected the path of a file"):
        fnn.sweep(never, VALUES, results=5, progress=False)
    with pytest.raises(ValueError, match="give the results file to go on with"):
        fnn.sweep(never, VALUES, resume=True, progress=False)


def test_other_data_are_another_sweep(tmp_path: Path) -> None:
    path, space = tmp_path / "sweep.jsonl", fnn.Space(lr=[0.1])
    fnn.sweep(build, space, **DATA, results=path, progress=False)
    with pytest.raises(ResultsError, match="is of another sweep: its data is"):
        fnn.sweep(build, space, DATA["X"] + 1, DATA["y"], validation_data=DATA["validation_data"], results=path,
                  resume=True, progress=False)  # fmt: skip


def test_two_sweeps_on_one_file_are_refused(tmp_path: Path) -> None:
    path, inside, go_on = tmp_path / "sweep.jsonl", threading.Event(), threading.Event()

    def waits(config: Any, budget: Any, report: Any) -> float:
        inside.set()
        assert go_on.wait(30)
        return 0.0

    thread = threading.Thread(target=lambda: fnn.sweep(waits, VALUES, results=path, progress=False))
    thread.start()
    try:
        assert inside.wait(30)
        with pytest.raises(ResultsError, match="another sweep is writing it"):
            fnn.sweep(value_of, VALUES, results=path, resume=True, progress=False)
    finally:
        go_on.set()
        thread.join()
    assert len(fnn.sweep(waits, VALUES, results=path, resume=True, progress=False).trials) == 3


FORKS = """
import os, time
import fastnn as fnn
def train(config, budget, report):
    child = os.fork()
    if child:
        print(child, flush=True)
    time.sleep(60)
    os._exit(0)
fnn.sweep(train, fnn.Space(value=[3.0, 1.0, 2.0]), results={path!r}, workers=1, progress=False)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked")
def test_what_a_killed_sweep_has_forked_does_not_hold_its_file(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-c", FORKS.format(path=str(path))], stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        with pytest.raises(ResultsError, match="another sweep is writing it"):  # nor does it give it free
            fnn.sweep(value_of, VALUES, results=path, resume=True, progress=False)
        process.kill()
        process.wait()
        os.kill(child, 0)
        assert len(fnn.sweep(value_of, VALUES, results=path, resume=True, progress=False).trials) == 3
    finally:
        os.kill(child, signal.SIGKILL)
        process.kill()
        process.communicate()


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
import fastnn as fnn
def train(config, budget, report):
    time.sleep(0.02)
    return config["value"]
fnn.sweep(train, fnn.Space(value=[*range(200)]), results={path!r}, workers=2, progress=False)
"""


def test_a_sweep_killed_at_any_time_resumes_without_a_loss(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    script = KILLED.format(tests=str(Path(__file__).parent), path=str(path))
    process = subprocess.Popen([sys.executable, "-c", script])
    while not path.exists() or len(path.read_bytes().splitlines()) < 20:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(results.read(path)[1])
    assert 19 <= done < 200
    calls = []

    def train(config: dict[str, Any], budget: int | None, report: Any) -> float:
        calls.append(config["value"])
        return float(config["value"])

    result = fnn.sweep(train, fnn.Space(value=[*range(200)]), results=path, resume=True, progress=False)
    assert len(calls) == 200 - done
    assert sorted(trial.config["value"] for trial in result.trials) == [*range(200)]


def interrupt_after(seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


def test_ctrl_c_ends_a_sweep_that_can_be_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sweep.jsonl"
    space = fnn.Space(value=[1.0, 2.0], what=[None, "wait"])
    timer = interrupt_after(0.5)
    result = fnn.sweep(value_of, space, results=path, workers=3)
    timer.join()
    assert result.stopped == "interrupted"
    assert result.counts == {"finished": 2}
    assert "interrupted" in capsys.readouterr().err
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fastnn sweep")]
    shorter = fnn.sweep(value_of, fnn.Space(value=[1.0, 2.0]), progress=False)
    assert shorter.stopped == "finished"
    assert len(results.read(path)[1]) == 2


def test_a_trial_that_ends_while_the_sweep_does_is_kept_and_none_is_begun(tmp_path: Path) -> None:
    path, begun = tmp_path / "sweep.jsonl", list[float]()

    def train(config: dict[str, Any], budget: int | None, report: Any) -> float:
        begun.append(config["value"])
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)  # it reports nothing, and nobody stops it
        return float(config["value"])

    result = fnn.sweep(train, VALUES, results=path, workers=1, progress=False)
    assert (result.stopped, [trial.value for trial in result.trials]) == ("interrupted", begun)
    assert len(begun) == 1
    assert results.read(path)[1] == result.trials


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_ctrl_c_waits_until_a_trial_is_in_file_and_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path, true_call, calls = tmp_path / "sweep.jsonl", getattr(os, call), itertools.count()

    def interrupted(*given: Any) -> Any:
        if next(calls) == (2 if call == "write" else 3):  # the header (and its folder), a trial, and another
            signal.raise_signal(signal.SIGINT)
        return true_call(*given)

    with monkeypatch.context() as patched:
        patched.setattr(os, call, interrupted)
        result = fnn.sweep(value_of, VALUES, workers=1, results=path, progress=False)
    assert result.stopped == "interrupted"
    assert len(result.trials) in (2, 3)  # the last one may have come to its end meanwhile
    assert [trial.line() for trial in result.trials] == [trial.line() for trial in results.read(path)[1]]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = fnn.sweep(value_of, VALUES, results=path, resume=True, progress=False)
    assert len(resumed.trials) == 3


def test_a_second_ctrl_c_does_not_wait() -> None:
    came_to = []

    def interrupted(times: int) -> None:
        with unbroken():
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
            came_to.append(times)

    for times in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            interrupted(times)
    assert came_to == [1]


def test_ctrl_c_ends_trainings_between_their_steps() -> None:
    def long(config: dict[str, Any]) -> tuple[fnn.Sequential, dict[str, Any]]:
        return fnn.Sequential([fnn.Dense(3)], inputs=8), {"loss": "cross_entropy", "epochs": 10_000_000}

    timer = interrupt_after(0.5)
    result = fnn.sweep(long, fnn.Space(lr=[0.1, 0.2]), **DATA, workers=2, progress=False)
    timer.join()
    assert (result.stopped, result.trials) == ("interrupted", [])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fastnn sweep")]


# What is said and what is refused.


def test_lines_say_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    fnn.sweep(value_of, fnn.Space(value=[1.0, 2.0], what=[None, "raise"]), progress=True)
    assert capsys.readouterr().err == "fastnn sweep: 4 of 4 trials done, 2 failed, best 1\n"


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"search": "grid", "space": fnn.Space(lr=fnn.uniform(0, 1))}, ValueError, "a grid needs lists: lr is Range"),
        ({"search": "rando"}, ValueError, "unknown search 'rando': did you mean 'random'"),
        ({"search": "random"}, ValueError, "say how many: trials="),
        ({"search": 3}, TypeError, "expected a name"),
        ({"trials": 0}, ValueError, "trials must be at least 1"),
        ({"workers": 0}, ValueError, "workers must be at least 1"),
        ({"mode": "best"}, ValueError, "unknown mode 'best'"),
        ({"metric": "steps"}, ValueError, "say mode='min' or mode='max'"),
        ({"metric": "val_acuracy"}, ValueError, r"metric of your own \(or did you mean 'val_accuracy'\?\)"),
        ({"metric": 3}, TypeError, r"metric=3\): expected the name of a column"),
        ({"metric": ""}, TypeError, "expected the name of a column"),
        ({"budget": 1.5}, TypeError, "budget must be an integer"),
        ({"executor": "threds"}, TypeError, "expected 'threads', 'processes' or a concurrent.futures.Executor"),
        ({"space": {"lr": [1]}}, TypeError, r"sweep\(space=dict\): expected a Space"),
        ({"build": 3}, TypeError, r"sweep\(build=3\): expected build\(config\)"),
        ({"build": lambda a, b: 1}, TypeError, "takes 2 arguments"),
        ({"build": build}, TypeError, "give X and y"),
        ({"build": build, "X": DATA["X"], "y": DATA["y"], "validation_data": 1}, TypeError, "validation_data=int"),
        ({"build": build, "y": DATA["y"]}, TypeError, r"sweep\(X=None\): give X and y"),
        ({"build": build, "X": DATA["X"], "y": DATA["y"][1:]}, ValueError, "y: has 95 rows, expected 96 as in X"),
        (
            {"build": build, **DATA, "validation_data": (DATA["X"], DATA["y"][1:])},
            ValueError,
            r"validation_data\[1\]: has 95 rows, expected 96",
        ),
        ({"X": DATA["X"]}, TypeError, "has its own data"),
        ({"progress": 2}, TypeError, "progress must be True or False"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_anything_runs(
    given: dict[str, Any], error: type[Exception], message: str
) -> None:
    def never(config: Any, budget: Any, report: Any) -> float:
        raise AssertionError

    arguments = {"build": never, "space": VALUES, "progress": False, **given}
    with pytest.raises(error, match=message):
        fnn.sweep(**arguments)
