"""`Bound.steps`: training steps one by one, with the bits of `run`, whatever is done with the trainer between them."""

import copy
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import cases
import networks
import numpy as np
import pytest

from fastnn import Adam, NonFiniteLoss, Trainer
from fastnn import bound as bound_module
from fastnn.bound import Bound
from fastnn.kernels import native
from fastnn.plan import prepared
from fastnn.plan.runner import NativeRunner

BACKENDS = cases.BACKENDS
COMPILED = [backend for backend in BACKENDS if backend != "reference"]
ROWS = 61
MIXES = ("relu", "all kinds", "dropout first")

every_backend = pytest.mark.parametrize("backend", BACKENDS)
compiled = pytest.mark.parametrize("backend", COMPILED)


def bound_to(mix: str, backend: str, batch_size: int = 8, dtype: str = "float32") -> tuple[Trainer, Bound]:
    model = networks.network(mix, 4, 16, 3, dtype)
    trainer = Trainer(model, "cross_entropy", Adam(lr=0.01), batch_size=batch_size, backend=backend)
    return trainer, trainer.bind(*networks.data("cross_entropy", ROWS, 4, 3, dtype))


def state(trainer: Trainer) -> tuple[bytes, int]:
    """All that training changes."""
    arenas = [trainer._arenas[name].tobytes() for name in ("parameters", "state", *trainer.optimizer.moments)]
    return b"".join(arenas), trainer.step_count


def same(backend: str, mix: str, one: Callable[..., Any], other: Callable[..., Any], batch_size: int = 8) -> None:
    """Two ways to train give the same losses and leave the same state, bit for bit."""
    results = []
    for way in (one, other):
        trainer, data = bound_to(mix, backend, batch_size)
        losses = np.array(way(trainer, data))
        results.append((losses.tobytes(), state(trainer)))
    assert results[0] == results[1]


@every_backend
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mix", networks.MIXES)
def test_steps_have_the_bits_of_run(mix: str, dtype: str, backend: str) -> None:
    order = np.random.default_rng(0).permutation(ROWS)
    (one, run), (other, steps) = (bound_to(mix, backend, dtype=dtype) for _ in range(2))
    losses = run.run(order)
    assert list(steps.steps(order)) == losses.tolist()
    assert len(losses) == 8  # the last batch has five rows
    assert state(one) == state(other)
    assert one.step_count == 8


@every_backend
@pytest.mark.parametrize("mix", MIXES)
def test_many_steps_are_prepared_in_stretches_without_a_seam(
    mix: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(bound_module, "_AHEAD_FIRST", 1)
    monkeypatch.setattr(bound_module, "_AHEAD_GROWS", 2)
    monkeypatch.setattr(bound_module, "_AHEAD", 8)
    order = np.random.default_rng(0).integers(0, ROWS, (45, 5))
    same(backend, mix, lambda _, data: data.run(order), lambda _, data: list(data.steps(order)))


@every_backend
@pytest.mark.parametrize("mix", MIXES)
def test_learning_rate_may_change_between_any_two_steps(mix: str, backend: str) -> None:
    order = np.random.default_rng(0).integers(0, ROWS, (40, 8))
    rates = [0.01] * 3 + [0.02, 0.003] + [0.01] * 20 + [0.05] * 14 + [0.0]

    def by_runs(trainer: Trainer, data: Bound) -> Iterator[float]:
        for rate, rows in zip(rates, order, strict=True):
            trainer.lr = rate
            yield from data.run(rows[None])

    def by_steps(trainer: Trainer, data: Bound) -> Iterator[float]:
        trainer.lr = rates[0]
        for loss, rate in zip(data.steps(order), [*rates[1:], 1.0], strict=True):
            trainer.lr = rate
            yield loss

    same(backend, mix, lambda *a: list(by_runs(*a)), lambda *a: list(by_steps(*a)))


@every_backend
@pytest.mark.parametrize("mix", MIXES)
def test_steps_go_on_from_whatever_came_between(mix: str, backend: str) -> None:
    """Runs, full batches, gradients, a forward pass, a reset, a change of the step count, another iterator."""
    X, y = networks.data("cross_entropy", ROWS, 4, 3, "float32")
    order = np.random.default_rng(0).integers(0, ROWS, (12, 8))
    other = np.random.default_rng(1).permutation(ROWS)

    def between(step: int, trainer: Trainer, data: Bound, others: Iterator[Any]) -> list[float]:
        if step == 2:
            return data.run(other).tolist()
        if step == 3:
            return data.run_full(3).tolist()
        if step == 4:
            return [data.differentiate()]
        if step == 5:
            trainer.forward(X[:5])
        if step == 6:
            trainer.reset()
        if step == 7:
            trainer.step_count = 100
        if step == 8:
            return trainer.bind(X[::-1].copy(), y[::-1].copy()).run(other).tolist()
        if step == 9:
            data.run_full(0)
        return [next(others)] if step == 10 else []

    def by_runs(trainer: Trainer, data: Bound) -> list[float]:
        losses = []
        for step, rows in enumerate(order):
            losses += data.run(rows[None]).tolist()
            losses += between(step, trainer, data, (data.run(other[:8])[0] for _ in range(1)))
        return losses

    def by_steps(trainer: Trainer, data: Bound) -> list[float]:
        losses, others = [], data.steps(other)
        for step, loss in enumerate(data.steps(order)):
            losses += [loss, *between(step, trainer, data, others)]
        return losses

    same(backend, mix, by_runs, by_steps)


@every_backend
@pytest.mark.parametrize("mix", MIXES)
def test_two_iterators_take_turns(mix: str, backend: str) -> None:
    order = np.random.default_rng(0).integers(0, ROWS, (20, 8))

    def by_turns(_: Trainer, data: Bound) -> list[float]:
        return [loss for pair in zip(data.steps(order[::2]), data.steps(order[1::2]), strict=True) for loss in pair]

    same(backend, mix, lambda _, data: data.run(order), by_turns)


@every_backend
def test_a_full_batch_kept_by_the_same_program_is_fetched_again_after_steps(backend: str) -> None:
    """With as many rows in a step as there are, steps and full batches share a program and its batch."""
    order = np.random.default_rng(0).permutation(ROWS)

    def by_runs(_: Trainer, data: Bound) -> list[float]:
        return [*data.run_full(1), *data.run(order), *data.run_full(1), *data.run(order[:30])]

    def by_steps(_: Trainer, data: Bound) -> list[float]:
        given = data.steps(np.stack([order, order[::-1]]))
        return [*data.run_full(1), next(given), *data.run_full(1), *data.run(order[:30])]

    same(backend, "relu", by_runs, by_steps, batch_size=ROWS)


@every_backend
def test_nothing_happens_before_the_first_loss_is_asked_for(backend: str) -> None:
    trainer, data = bound_to("all kinds", backend)
    before = state(trainer)
    steps = data.steps(np.arange(ROWS))
    assert state(trainer) == before
    next(steps)
    assert trainer.step_count == 1


@every_backend
def test_an_abandoned_iterator_leaves_the_steps_made(backend: str) -> None:
    order = np.arange(40)

    def by_steps(_: Trainer, data: Bound) -> list[float]:
        losses = []
        for loss in data.steps(order):
            losses.append(loss)
            if len(losses) == 3:
                break
        return losses

    same(backend, "all kinds", lambda _, data: data.run(order[:24]), by_steps)


@every_backend
def test_a_step_makes_an_unfinished_backward_void(backend: str) -> None:
    X, _ = networks.data("cross_entropy", ROWS, 4, 3, "float32")
    trainer, data = bound_to("relu", backend)
    steps = data.steps(np.arange(ROWS))
    trainer.forward(X)
    next(steps)
    with pytest.raises(RuntimeError, match="call forward"):
        trainer.backward(np.zeros((ROWS, 3)))


@every_backend
def test_the_order_may_be_changed_once_it_was_given(backend: str) -> None:
    kept = np.random.default_rng(0).integers(0, ROWS, (30, 8))

    def by_steps(_: Trainer, data: Bound) -> list[float]:
        order, losses = kept.copy(), []
        for loss in data.steps(order):
            order[...] = 10**9
            losses.append(loss)
        return losses

    same(backend, "relu", lambda _, data: data.run(kept), by_steps)


@every_backend
@pytest.mark.parametrize(
    ("order", "error", "match"),
    [
        ([ROWS], ValueError, f"contains row {ROWS}, expected rows from 0 to {ROWS - 1}"),
        ([[-1, 0]], ValueError, "contains row -1"),
        ([0.5], TypeError, "expected row numbers as integers"),
        (np.zeros((2, 9), int), ValueError, "has 9 rows a step, expected at most batch_size = 8"),
        ([], ValueError, "not empty"),
    ],
)
def test_an_order_that_does_not_fit_is_refused_at_once(
    order: Any, error: type[Exception], match: str, backend: str
) -> None:  # fmt: skip
    trainer, data = bound_to("relu", backend)
    before = state(trainer)
    with pytest.raises(error, match=match):
        data.steps(order)
    assert state(trainer) == before


@every_backend
def test_a_loss_that_is_not_finite_is_raised_at_its_step(backend: str) -> None:
    model = networks.network("relu", 4, 16, 3, "float32")
    X, y = networks.data("cross_entropy", ROWS, 4, 3, "float32")
    X[30, 1] = np.inf
    trainer = Trainer(model, "cross_entropy", batch_size=8, backend=backend)
    losses: list[float] = []
    steps = trainer.bind(X, y, allow_nonfinite=True).steps(np.arange(ROWS))
    with pytest.raises(NonFiniteLoss, match="at step 3") as raised:
        losses.extend(steps)  # those that came before are kept
    assert raised.value.step == 3
    assert raised.value.losses[:3].tolist() == losses
    assert len(raised.value.losses) == 4
    assert not np.isfinite(raised.value.losses[3])
    assert trainer.step_count == 4  # the step was made
    assert list(steps) == []


@every_backend
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupted_step_counts_if_it_was_made(when: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, data = bound_to("all kinds", backend)
    order = np.arange(ROWS)
    runner = trainer.program(8).runner
    prepare = runner.prepare

    class Interrupted:
        def __init__(self, passes: Any) -> None:
            self.ready = prepare(passes)

        def run(self, first: int, count: int) -> None:
            if first == 3 and when == "before":
                signal.raise_signal(signal.SIGINT)
            self.ready.run(first, count)
            if first == 3:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(runner, "prepare", Interrupted)
    losses = []
    with pytest.raises(KeyboardInterrupt):
        losses.extend(data.steps(order))
    monkeypatch.undo()
    done = 3 if when == "before" else 4
    assert len(losses) == 3
    assert trainer.step_count == done
    again, fresh = bound_to("all kinds", backend)
    fresh.run(order[: 8 * done])
    assert state(again) == state(trainer)


@compiled
@pytest.mark.parametrize("milliseconds", [1, 3, 10, 20, 30])
def test_ctrl_c_is_heard_between_steps_that_nobody_looks_at(milliseconds: int, backend: str) -> None:
    """`extend` runs no Python of its own between two steps, and the signal comes anywhere. Compiled steps are whole."""
    trainer, data = bound_to("all kinds", backend, batch_size=1)
    order = np.tile(np.arange(ROWS), 10_000)
    losses: list[float] = []

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    steps = data.steps(order)
    losses.append(next(steps))
    try:
        signal.setitimer(signal.ITIMER_REAL, milliseconds / 1000)
        with pytest.raises(KeyboardInterrupt):
            losses.extend(steps)
    finally:
        signal.signal(signal.SIGALRM, before)
    done = trainer.step_count
    assert done == len(losses)
    assert list(steps) == []
    again, fresh = bound_to("all kinds", backend, batch_size=1)
    assert fresh.run(order[:done]).tolist() == losses
    assert state(again) == state(trainer)


# Native steps.


@pytest.mark.skipif("c" not in BACKENDS, reason="threads come from the C library")
@pytest.mark.parametrize("mix", MIXES)
def test_steps_on_several_threads_have_the_bits_of_run(mix: str) -> None:
    X, y = networks.data("cross_entropy", 512, 64, 3, "float32")
    order = np.random.default_rng(0).permutation(512)[:450]
    results = []
    for threads, by_steps in ((1, False), (2, False), (2, True)):
        model = networks.network(mix, 64, 300, 3, "float32")
        trainer = Trainer(model, "cross_entropy", Adam(), batch_size=128, threads=threads, backend="c")
        data = trainer.bind(X, y)
        losses = list(data.steps(order)) if by_steps else data.run(order).tolist()
        results.append((losses, state(trainer)))
    assert results[0] == results[1] == results[2]


@compiled
def test_steps_of_compiled_kernels_are_made_by_native_code(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(prepared._PythonStepper, "next")
    trainer, data = bound_to("all kinds", backend)
    assert isinstance(trainer.program(8).runner, NativeRunner)
    assert len(list(data.steps(np.arange(ROWS)))) == 8


def test_c_python_and_numba_know_the_same_members_of_passes() -> None:
    if not native.available():
        pytest.skip(str(native.why_not()))
    ffi = native._load()[1]
    fields = ffi.typeof("fastnn_passes").fields
    assert [field.offset for _, field in fields] == [8 * place for place in range(len(fields))]
    places = {f"_{name.upper()}": place for place, (name, _) in enumerate(fields)}
    assert {name: getattr(prepared, name) for name in ("_TRAINER", "_NEXT", "_GENERATION")}.items() <= places.items()
    assert [places[name] for name in ("_LOSSES", "_END")] == [places["_TRAINER"] + 1, places["_NEXT"] + 1]
    assert list(places)[places["_GENERATION"] :] == ["_GENERATION", "_STEP_COUNT", "_LR"]
    loop = pytest.importorskip("fastnn.kernels.numba.loop")
    assert {name: getattr(loop, name) for name in places} == places


@compiled
@pytest.mark.parametrize("cell", ["generation", "step_count", "lr"])
def test_a_native_step_is_made_only_if_the_trainer_is_as_it_was_prepared_for(cell: str, backend: str) -> None:
    trainer, data = bound_to("relu", backend)
    program = trainer.program(8)
    steps = data._mini_batches(program, np.arange(16))
    losses = np.full(2, prepared.UNWRITTEN).view(np.float64)
    expected = trainer.progress.cells.copy()
    passes = program.runner.prepare(data._feed.passes(program, steps, slice(0, 2), losses, training=True))
    made = prepared.stepper(passes, trainer.progress, expected, losses)
    first = made.next()
    assert first == losses[0]
    before = state(trainer)
    value = getattr(trainer.progress, cell)
    setattr(trainer.progress, cell, value + 1)
    assert made.next() == np.inf
    setattr(trainer.progress, cell, value)
    assert state(trainer) == before
    assert made.made == 1
    assert made.next() == losses[1]
    assert (made.next(), made.made, trainer.step_count) == (np.inf, 2, 2)


@compiled
@pytest.mark.parametrize("way", ["steps", "run"])
def test_a_step_waits_while_another_thread_is_at_work_in_the_workspace(way: str, backend: str) -> None:
    order = np.arange(ROWS)
    trainer, data = bound_to("all kinds", backend)
    runner = trainer.program(8).runner
    assert isinstance(runner, NativeRunner)
    steps = data.steps(order)
    first = next(steps)
    before, losses = state(trainer), list[float]()
    runner._busy[0] = 1
    rest = (lambda: losses.extend(steps)) if way == "steps" else (lambda: losses.extend(data.run(order[8:])))
    worker = threading.Thread(target=rest)
    worker.start()
    worker.join(0.05)
    assert worker.is_alive()
    assert state(trainer) == before
    if way == "steps":
        with pytest.raises(ValueError, match="already executing"):
            next(steps)
    runner._busy[0] = 0
    worker.join(10)
    assert not worker.is_alive()
    assert [first, *losses] == bound_to("all kinds", backend)[1].run(order).tolist()
    assert runner._busy[0] == 0


@compiled
def test_a_workspace_is_taken_by_native_code_while_it_works(backend: str) -> None:
    """Several threads run the same passes: the workspace is never shared, so each has the loss that one alone has."""
    trainer, data = bound_to("relu", backend, batch_size=ROWS)
    trainer.lr = 0.0  # all steps have the same loss, unless two of them share the workspace
    expected = float(data.run(np.arange(ROWS))[0])
    found: list[set[float]] = []

    def work(by_steps: bool) -> None:
        order, end, losses = np.tile(np.arange(ROWS), (200, 1)), time.perf_counter() + 0.5, set[float]()
        while time.perf_counter() < end:
            losses |= set(data.steps(order) if by_steps else data.run(order).tolist())
        found.append(losses)

    threads = [threading.Thread(target=work, args=(number % 2 == 0,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{expected}] * 4


@every_backend
def test_a_copied_trainer_does_not_hear_of_the_steps(backend: str) -> None:
    trainer, data = bound_to("all kinds", backend)
    steps = data.steps(np.arange(ROWS))
    next(steps)
    other = copy.deepcopy(trainer)
    before = state(other)
    list(steps)
    assert state(other) == before
