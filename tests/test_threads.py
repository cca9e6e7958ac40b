"""Several threads inside one model: the same bits for any number of them, whatever runs beside them."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import fastnn as fnn
from fastnn.kernels import OPERATIONS, native
from fastnn.kernels.table import argument_words
from fastnn.plan import threads as plan_threads
from fastnn.plan.arena import padded_matrix

pytestmark = pytest.mark.skipif(not native.available(), reason="the C library has the thread pool, and was not built")

THREADS = (1, 2, 3, 7)


@pytest.fixture(autouse=True)
def cut_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of any size are cut, so that small networks show what large ones do."""
    monkeypatch.setattr(plan_threads, "_LEAST_PRODUCT", 1)
    monkeypatch.setattr(plan_threads, "_LEAST_NUMBERS", 1)


def network(kind: str) -> list[Any]:
    if kind == "batch norm":
        hidden = [fnn.Dense(48), fnn.BatchNorm(), fnn.Activation("relu"), fnn.Dropout(0.3)]
        return [*hidden, fnn.Dense(33, "sigmoid"), fnn.Dense(5)]
    return [fnn.Dense(70, kind), fnn.Dense(41, kind), fnn.Dense(5)]


def trained(kind: str, threads: int, how: str, backend: str = "c", dtype: str = "float32") -> bytes:
    """The bits of losses and parameters after some training."""
    generator = np.random.default_rng(3)
    X, y = generator.standard_normal((1500, 19)), generator.integers(0, 5, 1500)
    model = fnn.Sequential(network(kind), inputs=19, dtype=dtype, seed=1)
    trainer = fnn.Trainer(model, "cross_entropy", fnn.Adam(lr=1e-2), batch_size=100, threads=threads, backend=backend)
    if how == "mini-batches":
        losses = trainer.run(X, y, generator.permutation(1500)[:950])
    elif how == "steps":
        losses = np.array(list(trainer.bind(X, y).steps(generator.permutation(1500)[:950])))
    else:
        losses = trainer.run(X, y, steps=4)
    assert np.isfinite(losses).all()
    return losses.tobytes() + model.parameters.arena.tobytes() + model.parameters.state.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("how", ["mini-batches", "steps", "full batch"])
@pytest.mark.parametrize("kind", ["relu", "tanh", "batch norm"])
def test_bits_do_not_depend_on_the_number_of_threads(kind: str, how: str, dtype: str) -> None:
    first, *others = (trained(kind, threads, how, dtype=dtype) for threads in THREADS)
    assert all(other == first for other in others)


def test_numba_kernels_run_on_the_pool_too_and_write_the_same_bits() -> None:
    assert trained("tanh", 3, "mini-batches", "numba") == trained("tanh", 1, "mini-batches", "c")
    assert trained("tanh", 3, "full batch", "numba") == trained("tanh", 1, "full batch", "c")


def test_gradients_of_all_rows_are_the_same_bits_on_several_threads() -> None:
    generator = np.random.default_rng(5)
    X, y = generator.standard_normal((1300, 6)), generator.standard_normal((1300, 2))

    def gradient(threads: int) -> bytes:
        model = fnn.Sequential([fnn.Dense(20, "tanh"), fnn.Dense(2)], inputs=6, seed=2)
        trainer = fnn.Trainer(model, "mse", threads=threads, backend="c")
        value, grad = trainer.value_and_grad(np.linspace(-1, 1, model.parameters.count), X, y)
        return np.float64(value).tobytes() + grad.tobytes()

    assert len({gradient(threads) for threads in THREADS}) == 1


@pytest.mark.parametrize("name", [name for name, entry in OPERATIONS.items() if entry.splits])
def test_every_axis_that_a_call_may_be_cut_along_is_an_axis_of_all_that_it_writes(name: str) -> None:
    entry = OPERATIONS[name]
    for axis in entry.splits:
        for array in entry.arrays:
            if array.access != "reads":
                assert axis in array.axes, f"{array.name} would be written by every thread"


@pytest.mark.parametrize(("shape", "axis", "granule"), [((64, 256), "F", 8), ((3, 4096), "B", 16)])
def test_calls_are_cut_along_a_long_axis_and_at_whole_cache_lines(
    shape: tuple[int, int], axis: str, granule: int
) -> None:
    entry = OPERATIONS["relu_forward"]
    x = padded_matrix(*shape, np.dtype(np.float32))
    cut = plan_threads.cut_of(entry, argument_words(entry, {"y": x, "x": x}), shape[1], x.dtype, 2)
    assert cut["size"] == entry.words[axis]
    assert cut["granule"] == granule


def test_small_work_stays_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    entry = OPERATIONS["dense_forward"]

    def grain(rows: int) -> tuple[int, int]:
        x, y = (padded_matrix(64, rows, np.dtype(np.float32)) for _ in range(2))
        words = argument_words(entry, {"y": y, "x": x, "weight": np.zeros((64, 64), np.float32), "floor": 0.0})
        cut = plan_threads.cut_of(entry, words, rows, x.dtype, 2)
        return int(np.prod(words[cut["work"][: cut["works"]]])), int(cut["grain"])

    work, least = grain(16)
    assert work == 64 * 64 * 16
    assert work < 2 * least, "two threads would do less than is worth waking one for"
    work, least = grain(1024)
    assert work >= 2 * least


def test_two_hundred_trainings_from_eight_python_threads_are_those_of_one() -> None:
    expected = {how: trained("relu", 1, how) for how in ("mini-batches", "full batch")}

    def train(index: int) -> bool:
        how = "full batch" if index % 2 else "mini-batches"
        return trained("relu", 1 + index % 3, how) == expected[how]

    with ThreadPoolExecutor(8) as executor:
        assert all(executor.map(train, range(200)))
    assert native.pool()[1] == 0, "nothing computes any more"


def test_callers_beside_each_other_do_not_take_more_threads_than_there_are_cpus() -> None:
    cpus, most, stop = len(os.sched_getaffinity(0)), [0], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            most[0] = max(most[0], native.pool()[1])

    watcher = threading.Thread(target=watch)
    callers = 6
    watcher.start()
    with ThreadPoolExecutor(callers) as executor:
        list(executor.map(lambda _: trained("relu", cpus, "mini-batches"), range(40)))
    stop.set()
    watcher.join()
    # A caller that was alone keeps what it got until it leaves; each other one is a thread by itself.
    assert most[0] <= cpus + callers - 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_parent_and_child_train_after_a_fork() -> None:
    before = trained("tanh", 2, "mini-batches")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        same = trained("tanh", 2, "mini-batches") == before and trained("tanh", 2, "full batch") != before
        os.write(writer, b"1" if same else b"0")
        os._exit(0)
    assert trained("tanh", 2, "mini-batches") == before
    os.waitpid(child, 0)
    assert os.read(reader, 1) == b"1"


def test_the_pool_is_made_when_it_is_needed_and_stops_when_told() -> None:
    native.stop_threads()
    trained("relu", 1, "mini-batches")
    assert native.pool() == (0, 0)
    trained("relu", 3, "mini-batches")
    assert native.pool() == (2, 0)
    trained("tanh", 2, "full batch")
    assert native.pool() == (2, 0), "one pool for all models"
    native.stop_threads()
    assert native.pool() == (0, 0)


def test_threads_are_refused_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fnn.Sequential([fnn.Dense(1)], inputs=1)
    with pytest.raises(ValueError, match="threads=2: the reference backend runs on one thread"):
        fnn.Trainer(model, "mse", threads=2, backend="reference")
    monkeypatch.setattr(native, "why_not", lambda: "the C kernels were not built (no compiler)")
    with pytest.raises(RuntimeError, match=r"threads=2: more than one thread needs .* not built \(no compiler\)"):
        fnn.Trainer(model, "mse", threads=2, backend="numba")
