"""Sweeps whose trials are an Optuna study: what a kill -9 leaves of it, and what others put into it."""

import os
import random
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sweeping import curve_of, value_of

import fastnn as fnn
from fastnn.sweeps import results

optuna = pytest.importorskip("optuna")

TESTS = Path(__file__).parent

SCRIPT = """
import sys, time
import optuna
import fastnn as fnn

optuna.logging.set_verbosity(optuna.logging.WARNING)

storage, path, kind, most = sys.argv[1:]

def train(config, budget, report):
    while len(open(path).readlines()) > int(most):  # a kill is to come
        time.sleep(0.01)
    for step in range(3):
        report(config["value"])
        time.sleep(0.01)
    return config["value"]

if __name__ == "__main__":
    sampler = optuna.samplers.TPESampler(seed=0)
    study = optuna.create_study(storage=storage, study_name="s", sampler=sampler, load_if_exists=True)
    space = fnn.Space(value=fnn.uniform(0.0, 1.0), seed=range(3))
    result = fnn.sweep(train, space, search=study, trials=30, prune=optuna.pruners.NopPruner(), workers=2,
                       executor=kind, results=path, resume=True, progress=False)
    print(result.counts)
"""


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """Optuna says a line for each trial else."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(level)


def states(study: Any) -> Counter[str]:
    return Counter(trial.state.name for trial in study.get_trials(deepcopy=False))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_study_in_sqlite_goes_on_after_a_kill_of_the_parent(tmp_path: Path, kind: str) -> None:
    path, script, storage = tmp_path / "sweep.jsonl", tmp_path / "script.py", f"sqlite:///{tmp_path}/study.db"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
    command = [sys.executable, str(script), storage, str(path), kind]
    for lines in (6, 14):  # killed twice
        process = subprocess.Popen([*command, str(lines + 6)], env=environment, stderr=subprocess.PIPE, text=True)
        while not path.exists() or len(path.read_bytes().splitlines()) < lines:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.kill()
        process.communicate()
    before = {trial.key: trial.line() for trial in results.read(path)[1]}
    assert 13 <= len(before) < 30
    done = subprocess.run([*command, "99"], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "{'finished': 30}\n"
    trials = results.read(path)[1]
    after = {trial.key: trial.line() for trial in trials}
    assert len(trials) == len(after) == 30
    assert before.items() <= after.items()
    repeats = Counter(trial.config["value"] for trial in trials)
    assert sorted(repeats.values()) == [3] * 10
    study = optuna.load_study(study_name="s", storage=storage)
    found = states(study)
    assert found["COMPLETE"] == 30
    assert set(found) <= {"COMPLETE", "FAIL"}
    complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    assert {trial.user_attrs["fastnn key"] for trial in complete} == set(after)
    assert sorted(trial.params["value"] for trial in complete) == sorted(trial.config["value"] for trial in trials)


def test_trials_at_work_at_a_kill_are_failures_also_without_their_mark(tmp_path: Path) -> None:
    study, path = optuna.create_study(), tmp_path / "sweep.jsonl"
    space = fnn.Space(value=fnn.uniform(0.0, 1.0))
    fnn.sweep(value_of, space, search=study, trials=3, results=path, progress=False)
    for trials in (4, 5):
        study.ask()  # what a kill leaves between birth and mark
        fnn.sweep(value_of, space, search=study, trials=trials, results=path, resume=True, progress=False)
        assert states(study) == {"COMPLETE": trials, "FAIL": trials - 3}
    # In a study that has trials of others it may be theirs.
    study.tell(study.ask(), 1.0)
    study.ask()
    fnn.sweep(value_of, space, search=study, trials=6, results=path, resume=True, progress=False)
    assert states(study) == {"COMPLETE": 7, "FAIL": 2, "RUNNING": 1}


def test_trials_that_users_put_into_a_study_are_trained_with_all_repeats() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for value in (0.125, 0.25, 0.375):
        study.enqueue_trial({"value": value})
    space = fnn.Space(value=fnn.uniform(0.0, 1.0), seed=range(3))
    result = fnn.sweep(value_of, space, search=study, trials=12, workers=2, progress=False)
    repeats = Counter(trial.config["value"] for trial in result.trials)
    assert {0.125: 3, 0.25: 3, 0.375: 3}.items() <= repeats.items()
    assert sorted(repeats.values()) == [3] * 4
    assert states(study) == {"COMPLETE": 12}
    for trial in study.trials:
        assert trial.params["value"] == trial.value


def test_a_pruned_grid_that_is_resumed_has_each_trial_once_in_its_study(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    space = fnn.Space(value=[1.0, 2.0, 3.0, 0.5])
    first = fnn.sweep(curve_of, space, budget=9, prune="asha", workers=1, trials=2, results=path, progress=False)
    assert first.counts == {"finished": 1, "pruned": 1}
    again = fnn.sweep(curve_of, space, budget=9, prune="asha", workers=1, results=path, resume=True, progress=False)
    whole = fnn.sweep(curve_of, space, budget=9, prune="asha", workers=1, progress=False)
    assert [trial.status for trial in again.trials] == [trial.status for trial in whole.trials]
    assert len(again.trials) == 4


def test_a_trial_that_is_tried_again_reports_its_first_steps_once(tmp_path: Path) -> None:
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner())
    folder = tmp_path / "marks"
    folder.mkdir()
    from sweeping import dies_after_a_report

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = fnn.sweep(
            dies_after_a_report, fnn.Space(value=[1.0], marks=str(folder)), search=study, trials=1,
            executor="processes", workers=1, progress=False,
        )  # fmt: skip
    assert (result.trials[0].status, result.trials[0].attempts) == ("finished", 2)
    assert study.trials[0].intermediate_values == {1: 1.0, 2: 1.0}


def test_an_interrupted_study_has_no_trial_at_work() -> None:
    study = optuna.create_study()

    def train(config: dict[str, Any], budget: int | None, report: Any) -> float:
        if len(study.get_trials(deepcopy=False)) >= 4:
            raise KeyboardInterrupt
        return float(config["value"])

    result = fnn.sweep(train, fnn.Space(value=fnn.uniform(0, 1)), search=study, trials=9, workers=2, progress=False)
    assert result.stopped == "interrupted"
    assert set(states(study)) == {"COMPLETE", "FAIL"}


def test_ctrl_c_waits_until_a_trial_is_in_the_study(tmp_path: Path) -> None:
    class Interrupted(optuna.samplers.RandomSampler):  # type: ignore[misc, name-defined]
        asked = told = 0

        def after_trial(self, *given: Any) -> None:
            self.told += 1
            if self.told == 2:
                signal.raise_signal(signal.SIGINT)
            super().after_trial(*given)

        def sample_independent(self, *given: Any) -> Any:
            self.asked += 1
            if self.asked == 6:
                signal.raise_signal(signal.SIGINT)
            return super().sample_independent(*given)

    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/study.db", sampler=Interrupted(seed=0))
    path, space = tmp_path / "sweep.jsonl", fnn.Space(value=fnn.uniform(0, 1))
    for _ in range(2):
        result = fnn.sweep(
            value_of, space, search=study, trials=9, workers=1, results=path, resume=True, progress=False
        )  # fmt: skip
        assert result.stopped == "interrupted"
        assert states(study)["COMPLETE"] == len(result.trials) == len(results.read(path)[1])
        assert "RUNNING" not in states(study)
    assert len(result.trials) == 5


def test_neither_has_one_that_asked_for_the_same_configuration_again() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))

    def train(config: dict[str, Any], budget: int | None, report: Any) -> float:
        while len(study.get_trials(deepcopy=False)) < 9:
            time.sleep(0.01)
        raise KeyboardInterrupt

    result = fnn.sweep(train, fnn.Space(value=[1.0, 2.0]), search=study, trials=9, workers=3, progress=False)
    assert result.stopped == "interrupted"
    assert states(study) == {"FAIL": 9}


# Pruning with repeats.


def lucky_or_not(config: dict[str, Any], budget: int | None, report: Any) -> float:
    """Nine reports of the value and what luck the seed has with it; 0.5 is not finite in the end."""
    del budget
    value = config["value"] + {(1.0, 1): 2.0, (3.0, 1): -2.9}.get((config["value"], config["seed"]), 0.0)
    for _ in range(9):
        report(value)
    return float("nan") if value == 0.5 else float(value)


@pytest.mark.parametrize("seed_first", [False, True])
def test_a_configuration_is_pruned_with_all_of_its_repeats_or_with_none(tmp_path: Path, seed_first: bool) -> None:
    values = {"value": [1.5, 1.0, 3.0, 0.5, 4.0]}
    space = fnn.Space(seed=range(3), **values) if seed_first else fnn.Space(**values, seed=range(3))
    given = {"prune": "asha", "workers": 1, "results": tmp_path / "sweep.jsonl", "progress": False}
    for trials in (4, 8, 10, 15):  # what is resumed in the midst of repeats goes on alike
        result = fnn.sweep(lucky_or_not, space, trials=trials, resume=trials > 4, **given)  # type: ignore[arg-type]
    found = {group.config["value"]: [(t.status, len(t.curve)) for t in group.trials] for group in result.groups}
    assert found[1.0] == [("finished", 9)] * 3  # with an unlucky seed
    assert found[3.0] == [("pruned", 1)] * 3  # with a lucky one
    assert found[0.5] == [("diverged", 9), ("pruned", 1), ("pruned", 1)]
    assert found[4.0] == [("pruned", 1)] * 3
    assert (result.best.config, len(result.best.values)) == ({"value": 1.5}, 3)
    assert [group.config["value"] for group in result.groups[:2]] == [1.5, 1.0]


def test_a_sweep_that_is_pruned_has_a_best_configuration_whatever_its_seeds_do() -> None:
    def noisy(config: dict[str, Any], budget: int | None, report: Any) -> float:
        value = config["value"] + random.Random(repr(config)).gauss(0, 0.2)
        for step in range(9):
            report(value - 0.01 * step)
        return float(value)

    space = fnn.Space(value=fnn.uniform(0, 1), seed=range(5))
    result = fnn.sweep(noisy, space, search="random", trials=100, prune="asha", workers=2, progress=False)
    assert len(result.best.values) == 5
    assert {group.status for group in result.groups} == {"finished", "pruned"}


# Samplers of finite spaces, and studies that do not fit.


def squared(config: dict[str, Any], budget: int | None, report: Any) -> float:
    del budget, report
    return float((config["value"] - 2) ** 2)


@pytest.mark.filterwarnings("ignore:BruteForceSampler is experimental")
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("seeds", [(), (0, 1)], ids=["once", "repeats"])
@pytest.mark.parametrize("kind", ["grid", "brute force"])
def test_a_sampler_that_has_proposed_all_ends_the_sweep(kind: str, seeds: tuple[int, ...], workers: int) -> None:
    values = [1.0, 2.0, 3.0]
    sampler = optuna.samplers.GridSampler({"value": values})
    sampler = sampler if kind == "grid" else optuna.samplers.BruteForceSampler()
    space = fnn.Space(value=values, **({"seed": seeds} if seeds else {}))
    result = fnn.sweep(squared, space, search=sampler, trials=50, workers=workers, progress=False)
    assert result.counts == {"finished": 3 * max(1, len(seeds))}
    assert result.best.config == {"value": 2.0}


def test_studies_that_do_not_fit_the_sweep_are_refused_before_anything_runs() -> None:
    def never(config: Any, budget: Any, report: Any) -> float:
        raise AssertionError

    def refused(match: str, study: Any) -> None:
        with pytest.raises(ValueError, match=match):
            fnn.sweep(never, fnn.Space(value=[1.0, 2.0]), search=study, trials=3, progress=False)
        assert [trial.state.name for trial in study.get_trials() if trial.state.name != "COMPLETE"] == []

    refused("has 2 objectives, expected one", optuna.create_study(directions=["minimize", "minimize"]))
    refused("the study is to maximize, the sweep to minimize", optuna.create_study(direction="maximize"))
    other = optuna.create_study()
    other.optimize(lambda trial: trial.suggest_float("value", 0, 1), n_trials=1)
    refused("in the study value is FloatDistribution.*, in the space CategoricalDistribution", other)


def test_a_seed_may_be_larger_than_numpys() -> None:
    space = fnn.Space(value=fnn.uniform(0, 1))
    found = [
        fnn.sweep(squared, space, search="tpe", trials=3, seed=2**40 + k, workers=1, progress=False) for k in (0, 0, 1)
    ]
    first, again, other = ([trial.value for trial in result.trials] for result in found)
    assert first == again != other
