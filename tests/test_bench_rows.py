"""Benchmarks of predictions, of many models and of starts: wrong answers are not timed, and a row says everything."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cases
import exact
import numpy as np
import pytest

from bench import (
    activations,
    agreement,
    environment,
    grid,
    inference,
    machine,
    neighbours,
    output,
    pools,
    startup,
    sweep,
    timing,
    trainings,
    trials,
)
from bench.networks import Problem

SMALLEST = inference.ROWS["4-16-16-3, 1024"]
SETS = list(cases.COMPILED)


@pytest.fixture(autouse=True)
def without_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are measured once, however busy the machine is: no test looks at their times."""
    monkeypatch.setattr(timing.PATIENCE, "left", 0.0)


def changed(data: Problem, how: str) -> Problem:
    """A problem whose weights are a little wrong."""
    weights = [value.copy() for value in data.weights]
    if how == "no last bias":
        weights[-1][...] = 0
    elif how == "of 17 bits":
        for value in weights:
            value.view(np.uint32)[...] &= 0xFFFFFF80
    else:
        weights[0][0, 0] = np.nan
    return Problem(data.network, data.X, data.y, weights)


@pytest.mark.parametrize("how", ["no last bias", "of 17 bits", "nan", "last row", "shape"])
def test_a_wrong_prediction_is_not_timed(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = inference.candidates

    def with_fake(data: Problem, X: Any, sets: list[str], peers: bool) -> dict[str, inference.Predict]:
        predict = inference.numpy_by_hand(data, X)
        if how == "shape":
            fake: inference.Predict = lambda: predict()[:1]  # noqa: E731
        elif how == "last row":
            fake = lambda: np.concatenate([predict()[:-1], predict()[:1]])  # noqa: E731
        else:
            fake = inference.numpy_by_hand(changed(data, how), X)
        return candidates(data, X, sets, peers) | {"fake": fake}

    monkeypatch.setattr(inference, "candidates", with_fake)
    row = inference.measure(SMALLEST, SETS, peers=False, quick=True)
    assert list(row["wrong"]) == ["fake"]
    assert not row["wrong"]["fake"] <= inference.TOLERANCE
    assert "rounds" not in row
    assert "ANSWERS DISAGREE: fake" in inference.table([row], SETS)


def test_a_row_of_predictions_is_complete() -> None:
    row = inference.measure(SMALLEST, SETS, peers=False, quick=True)
    columns = {"NumPy", "reference", *SETS, *(f"{name}{inference.CHECKED}" for name in SETS)}
    assert row["wrong"] == {}
    for what in ("rounds", "disturbed", "errors", "seconds", "gflops", "fraction_of_peak", "numpy_ratio"):
        assert row[what].keys() == columns, what
    assert row["flops"] == 2 * 1024 * (4 * 16 + 16 * 16 + 16 * 3)
    for name in columns:
        assert row["gflops"][name] == pytest.approx(row["flops"] / row["seconds"][name] / 1e9)
        assert row["rows_per_second"][name] == pytest.approx(1024 / row["seconds"][name])
    assert SMALLEST.name in inference.table([row], SETS)


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment that processes of pools are started with, and nothing measured of the machine."""
    for name, value in environment.wanted().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(machine, "fma_peak", lambda *_, **__: 100.0)
    monkeypatch.setattr(neighbours, "at_work", lambda cores=(): False)


@pytest.mark.parametrize("factor", [1.0, 1.01, float("nan")])
def test_a_sweep_with_other_losses_is_not_timed(
    factor: float, clean: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fakes(given: trainings.Given, *_: Any) -> dict[str, trainings.Sweep]:
        factors = {"NumPy": 1.0, "fake": factor}
        ran = pools.Ran(np.arange(1.0, given.models + 1), 2.0, 0.1, 1.5, 1.5)
        return {name: lambda dtype, own=own: replace(ran, losses=own * ran.losses) for name, own in factors.items()}

    monkeypatch.setattr(trainings, "candidates", fakes)
    row = trainings.measure(3, 1, [], peers=False, folder=tmp_path, epochs=1)
    if factor == 1:
        assert row["wrong"] == {}
        assert row["rounds"].keys() == {"NumPy", "fake"}
        return
    assert row["wrong"].keys() == {"fake float64", "fake float32"}
    assert "rounds" not in row
    assert "LOSSES DISAGREE: fake float64" in sweep.table([row])


@pytest.mark.slow
def test_every_form_of_a_sweep_trains_the_same_models(clean: None, tmp_path: Path) -> None:
    row = trainings.measure(3, 2, SETS, peers=False, folder=tmp_path, epochs=1)
    forms = ("", trainings.ONE, trainings.FILE, trainings.PROCESSES)
    names = {"NumPy", *(name + form for name in SETS for form in forms)}
    assert row["wrong"] == {}
    for what in ("rounds", "disturbed", "differences", "models_per_second", "fraction_of_peak", "numpy_ratio"):
        assert row[what].keys() == names, what
    assert all(len(rounds) == 2 for rounds in row["rounds"].values())
    assert row["steps"] == 25
    assert row["models_per_second"]["NumPy"] == pytest.approx(3 / row["seconds"]["NumPy"])
    assert row["over_one_worker"].keys() == set(SETS)
    assert 0 < row["start"]["NumPy"] < max(row["rounds"]["NumPy"])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["NumPy forked", "sklearn", "torch fused"])
def test_peers_of_a_sweep_train_the_models_that_numpy_trains(peer: str, clean: None, tmp_path: Path) -> None:
    given = trainings.Given(tmp_path, 2, epochs=1)
    given.prepare()
    found = trainings.candidates(given, [], True, 2)
    if peer not in found:
        pytest.skip(f"{peer} is not installed")
    seen = []

    def kept(dtype: str) -> pools.Ran:
        seen.append(found[peer](dtype))
        return seen[-1]

    off = trainings.differences({"NumPy": found["NumPy forked"], peer: kept}, given, "float64")
    bounds = agreement.SKLEARN_TOLERANCE if peer == "sklearn" else agreement.TOLERANCE
    assert off[peer] <= bounds["float64"]
    ran = seen[0] if seen else kept("float64")  # scikit-learn's steps are compared in this process
    assert len(ran.losses) == 2
    assert 0 < ran.start < ran.seconds


def test_models_of_a_sweep_share_the_data_and_nothing_else(tmp_path: Path) -> None:
    given = trainings.Given(tmp_path, 2, epochs=1)
    first, second = (given.task(number, "float32") for number in range(2))
    assert first.data.X is second.data.X
    assert not np.array_equal(first.data.weights[0], second.data.weights[0])
    assert not np.array_equal(first.order, second.order)
    given.prepare()
    read = pools.task(tmp_path, "float32", 1)
    assert np.array_equal(read.order, second.order)
    for value, expected in zip((read.data.X, *read.data.weights), (second.data.X, *second.data.weights), strict=True):
        assert np.array_equal(value, expected)


def test_the_cost_of_trials_is_measured_in_every_form(clean: None, tmp_path: Path) -> None:
    row = trials.overhead(20, 1, tmp_path)
    assert set(row["microseconds"]) >= {trials.MEMORY, trials.FILE}
    assert all(row["microseconds"][name] == pytest.approx(row["rounds"][name][0] / 20 * 1e6) for name in row["rounds"])
    assert not list(tmp_path.iterdir())


def test_memory_is_that_of_a_process_which_trained(clean: None) -> None:
    row = trials.memory(3, SETS[-1])
    assert 0 < row["before"] < row["peak"]
    assert row["milliseconds"] > 0


@pytest.mark.slow
def test_grid_search_finds_what_scikit_learn_finds(clean: None) -> None:
    row = grid.measure(1, SETS[-1:], peers=True, epochs=10, widths=(64,))
    if row is None:
        pytest.skip("scikit-learn is not installed")
    assert row["wrong"] == {}
    assert row["accuracy"].keys() == row["rounds"].keys() == {"sklearn", SETS[-1]}
    assert min(row["accuracy"].values()) > 0.95
    assert "by sklearn" in output.table(*sweep.other_tables({"rows": [], "grid": row})[0])


def test_grid_search_with_another_accuracy_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    accuracies = {"numba": 0.98, "c": 0.95}
    monkeypatch.setattr(grid, "by_sweep", lambda data, name, *_: grid.Found(accuracies[name], {}, 1.0))
    row = grid.measure(1, list(accuracies), peers=False)
    assert row is not None
    assert row["wrong"].keys() == {"c"}
    assert "rounds" not in row
    assert "ACCURACIES DISAGREE: c" in sweep.other_tables({"rows": [], "grid": row})[0][0][0]


def answer(**changes: Any) -> startup.Answer:
    """What a process that trained might have said."""
    found = {"seconds": 0.2, "loss": 1.5, "resident": 40.0, "peak": 41.0, "disturbed": False, "said": ""}
    return {**found, "numba": False, "llvmlite": False, **changes}


@pytest.mark.parametrize("loss", [1.51, float("nan")])
def test_a_start_that_ends_with_another_loss_is_wrong(loss: float) -> None:
    row = startup.row_of(startup.WARM, {"NumPy": [answer()], "c": [answer(), answer(loss=loss)]})
    assert row["wrong"].keys() == {"c"}
    assert "rounds" not in row
    assert "LOSSES DISAGREE: c" in startup.table([row])
    right = startup.row_of(startup.COLD, {"NumPy": [answer()], "c": [answer()]})
    assert right["wrong"] == {}
    assert startup.compilation(row, right)["wrong"] == row["wrong"]


def test_starts_have_seconds_and_memory_and_the_first_compilation_is_what_an_empty_cache_adds() -> None:
    def row_of(what: str, *seconds: float) -> startup.Row:
        return startup.row_of(what, {"NumPy": [answer()], "numba": [answer(seconds=took) for took in seconds]})

    warm, cold = row_of(startup.WARM, 0.3, 0.2, 0.4), row_of(startup.COLD, 9.0)
    assert warm["rounds"]["numba"] == [0.3, 0.2, 0.4]
    assert (warm["resident"]["numba"], warm["peak_memory"]["numba"]) == (40.0, 41.0)
    found = startup.compilation(warm, cold)
    assert found["rounds"] == {"NumPy": [0.2], "numba": [pytest.approx(8.7)]}
    rows = {startup.WARM: warm, startup.COLD: cold, startup.IMPORT: import_row()}
    text = startup.table(list(rows.values()))
    assert f"{startup.COLD}: numba" in text
    pages = startup.summary(rows, ["numba"])
    assert pages["fastnn"]["numba"] == {
        "seconds": 0.3, "resident": 40.0, "peak": 41.0, "cold": 9.0, "cold says": "", "imported": [],
    }  # fmt: skip
    assert pages["peers"].keys() == {"NumPy"}
    assert pages["import over empty"] == pytest.approx(0.01)


def import_row() -> startup.Row:
    rounds = {"NumPy": [0.05], "fastnn": [0.03], "empty": [0.02]}
    return {"name": startup.IMPORT, "wrong": {}, "rounds": rounds, "disturbed": dict.fromkeys(rounds, 0.0)}


@pytest.mark.slow
def test_processes_start_in_turns_and_train_what_numpy_trains() -> None:
    with startup.unpinned():
        row = startup.measure(startup.WARM, SETS, peers=False, rounds=1)
    assert row["wrong"] == {}
    assert row["rounds"].keys() == row["resident"].keys() == {"NumPy", *SETS}
    assert all(0 < row["resident"][name] <= row["peak_memory"][name] + 1 for name in row["rounds"])


@pytest.mark.parametrize("name", activations.OF_ROWS)
def test_a_row_of_softmax_is_complete_and_a_wrong_one_not_timed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = activations.row_of_rows(name, 10, "float32", SETS, quick=True)
    assert row["wrong"] == {}
    assert row["timed"].keys() == {"NumPy", *SETS}
    assert all(0 < row["errors"][one]["normal"] <= activations.BOUND for one in SETS)
    right = getattr(exact, activations.activation(name))
    monkeypatch.setattr(exact, activations.activation(name), lambda x: right(x) * (1 + 3e-7))
    row = activations.row_of_rows(name, 10, "float32", SETS, quick=True)
    assert row["wrong"].keys() == set(SETS)
    assert "timed" not in row
