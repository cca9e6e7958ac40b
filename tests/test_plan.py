"""Plans: what they print, that nothing left in memory reaches a result, and that the same work gives the same bits."""

import gc
import itertools
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import networks
import numpy as np
import pytest

from fastnn import (
    BCE,
    MSE,
    SGD,
    AdaGrad,
    Adam,
    BatchNorm,
    Concatenate,
    CrossEntropy,
    Dense,
    Dropout,
    Predictor,
    Residual,
    RMSProp,
    Sequential,
    Trainer,
)
from fastnn import bound as bound_module
from fastnn.kernels import OPERATIONS, backends, objects
from fastnn.plan.arena import Ref
from fastnn.plan.compiler import compile_inference
from fastnn.plan.plan import Given

# What a plan says.


def small_plan():
    layers = [Dense(8, "relu"), BatchNorm(), Dropout(0.2), Dense(3)]
    return Trainer(Sequential(layers, inputs=5), "cross_entropy", Adam(), batch_size=7).plan


def formulas(text):
    """What the lines of a printed plan compute, without transpositions, whose place the machine decides."""
    lines = [line for line in text.splitlines() if line.startswith("  ") and "transpose" not in line]
    return [line.split(maxsplit=1)[1].strip() for line in lines]


def test_a_printed_plan_reads_like_the_maths_of_one_step():
    assert formulas(str(small_plan())) == [
        "xT = X[order]",
        "labels = y[order]",
        "h0 = max(W0 x, 0)",
        "h1 = gamma1 (h0 - mean) / sqrt(var + eps) + beta1",
        "h1 = dropout(h1, 0.2)",
        "h3 = W3 h1",
        "loss, dh3 = cross_entropy(h3, labels)",
        "dW3 = dh3 h1^T",
        "dh1 = W3^T dh3",
        "dh1 = dropout(dh1, 0.2)",
        "dh0, dgamma1, dbeta1 = gradient(dh1)",
        "dh0 *= act_prime(h0)",
        "dW0 = dh0 x^T",
        "W, exp_avg, exp_avg_sq <- dW",
    ]


def test_a_printed_plan_names_its_sections_in_order_and_its_operations():
    text = str(small_plan())
    headings = [line[:-1] for line in text.splitlines() if line.endswith(":")]
    assert headings == ["gather", "forward", "loss", "backward", "update"]
    operations = {line.split()[0] for line in text.splitlines() if line.startswith("  ")}
    assert operations <= OPERATIONS.keys()
    assert text.startswith("one training step, float32, up to 7 rows a pass, ")


def test_sections_cut_a_plan_without_gap_or_overlap():
    plan = small_plan()
    edges = list(plan.sections.values())
    assert edges[0][0] == 0
    assert edges[-1][1] == len(plan.calls)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(edges))


def test_a_plan_for_inference_has_neither_dropout_nor_gradients():
    model = Sequential([Dense(8, "tanh"), BatchNorm(), Dropout(0.2), Dense(3)], inputs=5)
    plan = compile_inference(model.layers, model.parameters, 16)
    operations = [call.operation.name for call in plan.calls]
    assert "batch_norm_inference" in operations
    assert not any("dropout" in name or "backward" in name or "update" in name for name in operations)


def test_the_gradient_of_the_inputs_is_never_computed():
    first = [[Dense(4, "relu")], [Dropout(0.1)], [BatchNorm()], [Residual([Dense(3, "relu")])]]
    first += [[Concatenate([[Dense(2)], [Dense(3), Dense(2)], []])], [Residual([Residual([Dense(3)])])]]
    for layers in ([*layers, Dense(2)] for layers in first):
        plan = Trainer(Sequential(layers, inputs=3), "mse", batch_size=4).plan
        products = [call.formula for call in plan.calls if call.operation.name == "dense_backward_input"]
        assert not any(text.startswith("dx ") for text in products)


@pytest.mark.parametrize("mix", networks.MIXES)
def test_every_operand_of_a_plan_is_declared_and_every_scalar_is_there(mix):
    plan = Trainer(networks.network(mix, 3, 5, 2), "mse", batch_size=4).plan
    for call in plan.calls:
        assert set(call.arguments) == set(call.operation.operands)
        for scalar in call.operation.scalars:
            assert isinstance(call.arguments[scalar.name], (int, float, Given))


@pytest.mark.parametrize("loss", ["mse", None])
@pytest.mark.parametrize("mix", networks.MIXES)
def test_operands_of_a_plan_share_memory_only_where_the_table_allows_it(mix, loss):
    plan = Trainer(networks.network(mix, 5, 5, 5), loss, batch_size=4).program(4, with_loss=loss is not None).plan
    for call in plan.calls:
        places = {
            array.name: (value.arena, value.slot.offset)
            for array in call.operation.arrays
            if isinstance(value := call.arguments[array.name], Ref)
        }
        written = [array.name for array in call.operation.arrays if array.access != "reads" and array.name in places]
        pairs = ((name, other) for name in written for other in places if other != name)
        shared = {(name, other) for name, other in pairs if places[name] == places[other]}
        assert shared <= {call.operation.in_place}, call.formula


# Memory.


def trained(mix, loss, backend, dtype, sizes, rows, batch_size, fill=None):
    """Losses, parameters and gradients, as bytes, of one epoch and two full batches; `fill` is written before each."""
    inputs, width, outputs = sizes
    model = networks.network(mix, inputs, width, outputs, dtype)
    trainer = Trainer(model, loss, Adam(lr=0.01), batch_size=batch_size, backend=backend)
    data = trainer.bind(*networks.data(loss, rows, inputs, outputs, dtype))
    order = np.random.default_rng(0).permutation(rows)
    results = []
    for run in (lambda: data.run(order), lambda: data.run(order[:1]), lambda: data.run_full(2)):
        if fill is not None:
            trainer.program(trainer.tile_rows(rows))
            for program in trainer._programs.values():
                program.fill_workspace(fill)
        results += [run().tobytes(), networks.numbers(model).tobytes(), *(g.tobytes() for g in trainer.gradients)]
    return results


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("mix", networks.MIXES)
@pytest.mark.parametrize(("loss", "dtype"), [("cross_entropy", "float32"), ("mse", "float64"), ("bce", "float32")])
def test_a_step_ignores_what_is_in_the_workspace(mix, loss, dtype, backend):
    arguments = (mix, loss, backend, dtype, (5, 7, 3), 19, 8)
    fresh = trained(*arguments)
    assert trained(*arguments, fill=0x00) == fresh
    assert trained(*arguments, fill=0xFF) == fresh


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("mix", ["relu", "no bias", "all kinds"])
@pytest.mark.parametrize("batch_size", [1, 13, 16, 100])
@pytest.mark.parametrize("sizes", [(1, 1, 2), (3, 17, 2), (16, 16, 16), (15, 33, 5)])
def test_the_workspace_is_ignored_at_the_edges_of_vectors(mix, batch_size, sizes, backend):
    arguments = (mix, "cross_entropy", backend, "float32", sizes, 37, batch_size)
    assert trained(*arguments, fill=0xFF) == trained(*arguments, fill=0x00)


def test_a_full_batch_in_tiles_ignores_the_workspace():
    arguments = ("dropout after tanh", "mse", "numba", "float32", (5, 7, 3), 1301, 64)
    assert trained(*arguments, fill=0xFF) == trained(*arguments, fill=0x00)


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_backends_agree_for_one_row_odd_batches_and_batches_beyond_the_data(batch_size, backend):
    """Float64 losses of all steps within 1e-12 of the reference's."""

    def losses(kernels):
        model = networks.network("all kinds", 3, 5, 2)
        trainer = Trainer(model, "mse", SGD(lr=0.01), batch_size=batch_size, backend=kernels)
        return trainer.run(*networks.data("mse", 21, 3, 2), np.tile(np.arange(21), 3))

    np.testing.assert_allclose(losses(backend), losses("reference"), rtol=1e-12)


def measured(run):
    """Blocks that are still there after a run, and the most bytes that Python held during it."""
    run()
    gc.collect()
    blocks = sys.getallocatedblocks()
    tracemalloc.start()
    try:
        losses = run()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    del losses
    gc.collect()
    return sys.getallocatedblocks() - blocks, peak


def test_a_step_allocates_nothing_but_its_row_of_the_table():
    model = networks.network("all kinds", 4, 16, 3, "float32")
    trainer = Trainer(model, "cross_entropy", batch_size=8)
    data = trainer.bind(*networks.data("cross_entropy", 64, 4, 3, "float32"))
    orders = {steps: np.tile(np.arange(64), steps // 8) for steps in (104, 10_000)}
    data.run(orders[10_000])
    kept, peaks = zip(*(measured(lambda order=order: data.run(order)) for order in orders.values()), strict=True)
    # 9,896 steps more; passes that are kept ready are some 60 objects, what other tests have left may go at any time
    assert kept[1] - max(kept[0], 0) < 200
    columns = 2 + sum(len(places) for places in trainer.plan.words.filled.values())
    assert peaks[1] - peaks[0] < (10_000 - 104) * 8 * columns


def test_kernels_call_nothing_that_could_allocate_raise_or_print():
    entries = [entry for entry in OPERATIONS.values() if backends.can_run("numba", entry)]
    kernels = [(entry.name, dtype) for entry in entries for dtype in entry.dtypes]
    loop = [("run_some", "int64"), ("next_step", "int64")]
    for name, dtype in [*kernels, ("product", "float32"), ("product", "float64"), *loop]:
        needs, code = objects._cached(name, dtype) or objects._compile(name, dtype)
        assert set(needs) <= {"product", "product_bf16"}
        for forbidden in (b"NRT_", b"malloc", b"Py", b"printf", b"numba_"):
            assert forbidden not in code, (name, dtype, forbidden)


def test_new_architectures_batch_sizes_losses_and_hyper_parameters_compile_nothing():
    def train(layers, loss, optimizer, batch_size, inputs=5, rows=23):
        model = Sequential(layers, inputs=inputs)
        trainer = Trainer(model, loss, optimizer, batch_size=batch_size, backend="numba")
        data = trainer.bind(*networks.data(loss.name, rows, inputs, model.outputs, "float32"))
        data.run(np.arange(rows))
        data.run_full(2)
        model.predict(networks.data("mse", rows, inputs, 1)[0])

    optimizers = [SGD(), SGD(momentum=0.9), Adam(), RMSProp(), AdaGrad()]
    losses = [CrossEntropy(), MSE(), BCE()]
    for optimizer in optimizers:
        for loss in losses:
            for name in ("relu", "all kinds", "dropout after tanh", "activation after linear"):
                train(networks.mixes(4, 3)[name], loss, optimizer, 4)
    before = list(objects.compiled)
    changed = [SGD(lr=0.5), SGD(momentum=0.1), Adam(betas=(0.3, 0.4), eps=1e-3), RMSProp(alpha=0.1), AdaGrad(eps=1.0)]
    for optimizer, width in zip(changed, (1, 9, 40, 130, 33), strict=True):
        for loss, rows in zip(losses, (1, 30, 700), strict=True):
            for mix in networks.mixes(width, 2).values():
                train(mix, loss, optimizer, batch_size=rows, inputs=3, rows=rows)
    assert objects.compiled == before


# The same work, the same bits.


def whole_training(seed, backend="numba", batch_size=16):
    model = Sequential(networks.mixes(17, 3)["all kinds"], inputs=6, seed=seed)
    trainer = Trainer(model, "cross_entropy", Adam(lr=0.01), batch_size=batch_size, backend=backend)
    X, y = networks.data("cross_entropy", 211, 6, 3, "float32")
    orders = [np.random.default_rng(epoch).permutation(211) for epoch in range(20)]
    data = trainer.bind(X, y)
    losses = np.concatenate([*(data.run(order) for order in orders), data.run_full(5)])
    return losses.tobytes() + networks.numbers(model).tobytes()


@pytest.mark.parametrize("backend", networks.BACKENDS)
def test_the_same_seed_gives_the_same_bits(backend):
    assert whole_training(1, backend) == whole_training(1, backend)
    assert whole_training(1, backend) != whole_training(2, backend)


def test_two_models_in_two_threads_equal_the_same_two_one_after_the_other():
    seeds = (1, 2, 3)
    alone = [whole_training(seed) for seed in seeds]
    for _ in range(5):
        with ThreadPoolExecutor(len(seeds)) as threads:
            assert list(threads.map(whole_training, seeds)) == alone


def test_one_data_set_bound_by_two_trainers_serves_both_at_once():
    X, y = networks.data("mse", 500, 6, 2, "float32")

    def train(seed):
        model = Sequential([Dense(30, "tanh"), Dense(2)], inputs=6, seed=seed)
        losses = Trainer(model, "mse", batch_size=20).run(X, y, np.tile(np.arange(500), 20))
        return losses.tobytes()

    alone = [train(0), train(1)]
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(train, (0, 1))) == alone


def test_one_predictor_serves_two_threads():
    model = networks.network("relu", 6, 64, 3, "float32")
    predictor = Predictor(model)
    inputs = [networks.data("mse", rows, 6, 3, "float32")[0] for rows in (2000, 1999)]
    alone = [predictor.run(X).tobytes() for X in inputs]
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(lambda turn: predictor.run(inputs[turn % 2]).tobytes(), range(100)))
    assert together == alone * 50


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("rows", [211, 1301])
def test_where_chunks_end_changes_no_bit(monkeypatch, rows, backend):
    def run(seconds):
        monkeypatch.setattr(bound_module, "CHUNK_SECONDS", seconds)
        model = networks.network("dropout after tanh", 6, 17, 3, "float32")
        trainer = Trainer(model, "cross_entropy", Adam(), batch_size=32, backend=backend)
        data = trainer.bind(*networks.data("cross_entropy", rows, 6, 3, "float32"))
        losses = [data.run(np.arange(rows)), data.run_full(4)]
        assert trainer.step_count == -(-rows // 32) + 4
        assert [len(part) for part in losses] == [-(-rows // 32), 4]
        return np.concatenate(losses).tobytes() + networks.numbers(model).tobytes()

    in_one = run(1e9)
    assert run(0.0) == in_one
    assert run(1e-4) == in_one
    assert run(0.001) == in_one


@pytest.mark.parametrize("backend", networks.BACKENDS)
def test_a_run_cut_in_two_equals_an_unbroken_one(backend):
    def run(cuts):
        model = networks.network("all kinds", 6, 17, 3, "float32")
        trainer = Trainer(model, "mse", Adam(), batch_size=8, backend=backend)
        data = trainer.bind(*networks.data("mse", 40, 6, 3, "float32"))
        order = np.random.default_rng(3).permutation(40)
        losses = [data.run(part) for part in np.split(order, cuts)]
        losses += [data.run_full(2), data.run_full(3)] if cuts else [data.run_full(5)]
        return np.concatenate(losses).tobytes() + networks.numbers(model).tobytes()

    assert run([16]) == run([8, 24]) == run([])


def full_gradient(dtype, X, y, in_one):
    model = networks.network("tanh", 6, 17, 3, dtype)
    trainer = Trainer(model, "cross_entropy")
    if in_one:
        trainer.tile_rows = lambda rows: rows
    theta = model.parameters.flatten(model.parameters.arena)
    return trainer.value_and_grad(theta, X, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_full_batch_in_tiles_equals_one_in_a_single_tile_to_rounding(dtype):
    rows = 1501
    X, y = networks.data("cross_entropy", rows, 6, 3, dtype)
    tiled, single = full_gradient(dtype, X, y, False), full_gradient(dtype, X, y, True)
    # Sums of `rows` terms in another order: K * eps relative to the size of what is summed.
    bound = rows * np.finfo(dtype).eps
    assert abs(tiled[0] - single[0]) <= bound * abs(single[0])
    scale = np.abs(single[1]).max()
    assert np.abs(tiled[1] - single[1]).max() <= bound * scale
    wrong = y.copy()
    wrong[700] = (wrong[700] + 1) % 3
    assert np.abs(full_gradient(dtype, X, wrong, False)[1] - single[1]).max() > bound * scale


def test_the_bits_of_a_full_batch_in_tiles_repeat():
    X, y = networks.data("cross_entropy", 1501, 6, 3, "float32")
    first, again = full_gradient("float32", X, y, False), full_gradient("float32", X, y, False)
    assert first[0] == again[0]
    assert first[1].tobytes() == again[1].tobytes()


@pytest.mark.parametrize("rows", [20, 1301])
@pytest.mark.parametrize(
    "between",
    [
        lambda trainer, data, X, y: data.run([0, 0, 0]),
        lambda trainer, data, X, y: trainer.run(X + 5, y, np.arange(len(X))),
        lambda trainer, data, X, y: trainer.run(X + 5, y, steps=1),
        lambda trainer, data, X, y: trainer.value_and_grad(np.zeros(trainer.model.count), X + 5, y),
        lambda trainer, data, X, y: trainer.forward(X + 5),
        lambda trainer, data, X, y: trainer.program(trainer.tile_rows(len(X))).fill_workspace(0xFF),
    ],
    ids=["a batch of its own rows", "a batch of others", "a full batch of others", "gradients", "forward", "filled"],
)
def test_a_full_batch_is_fetched_anew_after_anything_else_took_its_place(between, rows):
    X, y = networks.data("mse", rows, 6, 3)
    trainer = Trainer(networks.network("tanh", 6, 5, 3), "mse", SGD(), batch_size=rows)
    data = trainer.bind(X, y)
    start = trainer.model.parameters.copy_state()
    first = data.run_full(1)
    between(trainer, data, X, y)
    trainer.model.parameters.restore_state(start)
    assert data.run_full(1) == first


def test_batches_that_are_kept_and_batches_gathered_anew_give_the_same_bits(monkeypatch):
    def run(kept_bytes):
        monkeypatch.setattr(bound_module, "_KEPT_BYTES", kept_bytes)
        model = networks.network("relu", 6, 17, 3, "float32")
        trainer = Trainer(model, "mse", SGD())
        losses = trainer.run(*networks.data("mse", 1501, 6, 3, "float32"), steps=4)
        return losses.tobytes() + networks.numbers(model).tobytes()

    assert run(2**30) == run(0)
