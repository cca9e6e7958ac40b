"""Benchmarks of predictions, of many models and of starts: wrong answers are not timed, and a row says everything."""

from typing import Any

import cases
import exact
import numpy as np
import pytest

from bench import activations, environment, inference, startup, sweep, timing
from bench.baselines.numpy_mlp import NumpyMLP
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


class Hasty(NumpyMLP):
    """Leaves out the last step."""

    def run(self, order: np.ndarray) -> np.ndarray:
        return super().run(order[:-1])


@pytest.mark.parametrize("make", [NumpyMLP, Hasty])
def test_a_sweep_with_other_losses_is_not_timed(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_threads(given: Any, sets: Any, peers: bool, workers: int, stack: Any) -> dict[str, sweep.Sweep]:
        makers = {"NumPy": NumpyMLP, "fake": make}
        return {name: stack.enter_context(sweep.in_threads(maker, given, workers)) for name, maker in makers.items()}

    monkeypatch.setattr(sweep, "sweeps", in_threads)
    monkeypatch.setattr(sweep.machine, "fma_peak", lambda *_, **__: 100.0)
    row = sweep.measure(sweep.tasks(3, length=4), 1, [], peers=False)
    if make is NumpyMLP:
        assert row["wrong"] == {}
        assert row["rounds"].keys() == {"NumPy", "fake"}
        return
    assert row["wrong"].keys() == {"fake float64", "fake float32"}
    assert "rounds" not in row
    assert "LOSSES DISAGREE: fake float64" in sweep.table([row])


@pytest.mark.slow
def test_threads_and_processes_train_the_same_models(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.wanted().items():  # read by the processes of the pool
        monkeypatch.setenv(name, value)
    row = sweep.measure(sweep.tasks(3, length=20), 2, SETS, peers=False)
    assert row["wrong"] == {}
    for what in ("rounds", "disturbed", "differences", "models_per_second", "fraction_of_peak", "numpy_ratio"):
        assert row[what].keys() == {"NumPy", *SETS}, what
    assert all(len(rounds) == 2 for rounds in row["rounds"].values())
    assert row["models_per_second"]["NumPy"] == pytest.approx(3 / row["seconds"]["NumPy"])


def test_models_of_a_sweep_share_the_data_and_nothing_else() -> None:
    first, second = sweep.tasks(2)
    assert first.data.X is second.data.X
    assert not np.array_equal(first.data.weights[0], second.data.weights[0])
    assert not np.array_equal(first.order, second.order)


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
