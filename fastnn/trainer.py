"""Trainer: a model, a loss and an optimizer, compiled to plans and run over data, whole stretches of steps at a time.

A plan is compiled for a number of rows; a trainer keeps one for its batch size, one for full batches, and so on. Steps
run in chunks of some 50 ms, between which Ctrl-C arrives and the loss is looked at; within a chunk there is no Python.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from . import checks
from .bound import Bound, NonFiniteLoss
from .custom_loss import CustomBound
from .described import values_but
from .feed import per_step
from .iterations import Walk
from .kernels import backends
from .layers import Layer
from .losses import CustomLoss, Loss, get_loss
from .losses.custom import Function
from .losses.weights import sample_weights
from .optimizers import Optimizer, get_optimizer
from .optimizers.search import Search
from .plan.arena import Parameters, aligned_zeros, fill_entries, padded_matrix
from .plan.compiler import compile_training, tile_rows
from .plan.kept import kept
from .plan.passes import Column, Passes, PerPass
from .plan.plan import Plan
from .plan.prepared import Progress
from .plan.program import Program
from .randomness import step_keys
from .search import CustomSearchBound, SearchBound

__all__ = ["Bound", "Model", "NonFiniteLoss", "Trainer"]

Array = np.ndarray[Any, Any]
_PASSES_OF_A_STEP = 2**20  # dropout counters: step * this + place within the step


# Each holds a workspace, that of a full batch also the data twice.
_KEPT_PROGRAMS = 8


class Model(Protocol):
    """What a trainer needs of a model."""

    layers: tuple[Layer, ...]
    inputs: int
    dtype: np.dtype[Any]
    parameters: Parameters
    seed: int


class _Forward(NamedTuple):
    """What `backward` needs to know of the last `forward`."""

    program: Program
    rows: int
    keys: Mapping[str, Column]


class Trainer:
    """Trains a model's parameters in place.

    model        a Sequential, or anything with layers, inputs, dtype, parameters and seed
    loss         a name of docs/methods.md such as "cross_entropy", "mse" or "bce", an instance, or a function of
                 (outputs, targets) that returns value and gradient (`CustomLoss`); None if gradients of the outputs
                 come from outside
    optimizer    a name of docs/methods.md such as "sgd" or "adam", or an instance; None: Adam()
    batch_size   rows of a step
    threads      how many share the work of one model; more than 1 needs the C library, whose pool they come from, and
                 changes no bit of the results
    backend      "auto", "c", "numba" or "reference"
    precision    None: products in the model's dtype;  "bf16": those of layers at least 32 wide, in batches of at least
                 32 rows, round their operands to bfloat16 and add up in float32; weights, gradients and moments stay
                 float32. Needs a CPU with AVX512_BF16; faster in wide layers where it has a matrix unit too (AMX) or
                 multiplies pairs as fast as float32 numbers, slower elsewhere (`python -m bench.steps -k bf16`).
                 Inference is not rounded
    """

    def __init__(
        self, model: Model, loss: "str | Loss | Function | None" = None, optimizer: str | Optimizer | None = None,
        batch_size: int = 32, threads: int = 1, backend: str = "auto",
        precision: str | None = None,
    ) -> None:  # fmt: skip
        self.model = model
        self.loss = None if loss is None else get_loss(loss)
        self.optimizer = get_optimizer("adam" if optimizer is None else optimizer)
        self.batch_size = checks.integer("Trainer", "batch_size", batch_size, minimum=1)
        self.threads = checks.integer("Trainer", "threads", threads, minimum=1)
        self.backend = backends.resolve(backend)
        backends.check_threads(self.threads, self.backend)
        self.precision = backends.check_precision(precision, str(model.dtype), self.backend)
        self.progress = Progress(self.optimizer.lr)
        self._programs: dict[tuple[Loss | None, bool, int, int, int], Program] = {}
        self._penalties = np.zeros(1)  # of the last backward()
        self.walk: Walk | None = None
        self.loss_checked = False  # whether a loss of one's own has been compared with differences
        self._forward: _Forward | None = None  # what backward() may use, once
        self._differentiated: Program | None = None  # whose gradients step() may use, once
        parameters = model.parameters
        self._arenas = {
            "parameters": parameters.arena,
            "state": parameters.state,
            "gradients": aligned_zeros(len(parameters.arena)),
            **self.optimizer.factors(parameters),
            **{name: aligned_zeros(len(parameters.arena)) for name in self.optimizer.kept},
        }
        self._start_moments()

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy compiles its own plans: those of this one hold addresses. It trains the copy of the model.
        moments = {name: self._arenas[name] for name in self.optimizer.kept}
        made_from = (
            self.model, self.loss, self.optimizer, self.batch_size, self.threads, self.backend, self.precision
        )  # fmt: skip
        return _copied, (*made_from, self.lr, self.step_count, moments)

    @property
    def lr(self) -> float:
        """The learning rate of the steps to come."""
        return self.progress.lr

    @lr.setter
    def lr(self, value: float) -> None:
        self.progress.lr = checks.number("Trainer", "lr", value, minimum=0.0)

    @property
    def step_count(self) -> int:
        """The steps made since the beginning or the last `reset`."""
        return self.progress.step_count

    @step_count.setter
    def step_count(self, value: int) -> None:
        self.progress.step_count = checks.integer("Trainer", "step_count", value, minimum=0)

    @property
    def plan(self) -> Plan:
        """The plan of a step on `batch_size` rows."""
        return self.program(self.batch_size).plan

    @property
    def gradients(self) -> list[Array]:
        """Copies of the gradients of the last step or backward pass, in the order of `model.parameters.entries`."""
        return [entry.value.copy() for entry in self.model.parameters.views(self._arenas["gradients"])]

    def reset(self) -> None:
        """Moments to their start, step count to zero; the parameters stay."""
        self.step_count = 0
        self._start_moments()

    def _start_moments(self) -> None:
        for name in self.optimizer.kept:
            self._arenas[name].view(self.model.dtype)[...] = self.optimizer.starts.get(name, 0.0)

    def swap_average(self) -> None:
        """Exchanges the model's weights and their average (`ema_decay` of the optimizer), in place; training goes on
        from the weights, so swap back before. ValueError without an average or before the first step."""
        if self.optimizer.ema_decay is None or self.step_count == 0:
            raise ValueError("swap_average(): needs an optimizer with ema_decay, and a step that was made")
        self.abandon_step()
        weights, average = self._arenas["parameters"], self._arenas["average"]
        weights[...], average[...] = average.copy(), weights.copy()

    def state(self) -> dict[str, Any]:
        """Copies of what steps have left here beside the model's own numbers: "step_count", "lr" and "arrays", those
        that the optimizer keeps, by name and by the name of the model's array that each belongs to. `restore` takes it.

        Arrays have the logical shapes of `model.parameters.entries`, so that they fit on machines with other vectors.
        SciPy's memory of LBFGS cannot be fetched: kept are where it began and how many iterations it has made, and a
        step after `restore` makes these again.
        """
        views = self.model.parameters.views
        arrays = {
            name: {entry.name: entry.value.copy() for entry in views(arena)} for name, arena in self._kept_arenas()
        }
        state = {"step_count": self.step_count, "lr": self.lr, "arrays": arrays}
        return state if self.walk is None else {**state, "walk": self.walk._asdict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Puts back what `state` gave, so that the next step is the one that would have followed; ValueError where it
        is that of another optimizer or model."""
        kept, arrays = dict(self._kept_arenas()), state["arrays"]
        if kept.keys() != arrays.keys():
            raise ValueError(
                f"state: holds {', '.join(sorted(arrays)) or 'no arrays'}, "
                f"{self.optimizer!r} keeps {', '.join(sorted(kept)) or 'none'}"
            )
        for name, arena in kept.items():
            fill_entries(self.model.parameters.views(arena), arrays[name])
        self.lr, self.step_count = state["lr"], state["step_count"]
        self.walk = Walk(**{**state["walk"], "again": True}) if "walk" in state else None
        self.abandon_step()

    def kept_arrays(self) -> dict[str, Array]:
        """Copies of what steps have left here beside the model's own numbers, for `put_back`."""
        return {name: arena.copy() for name, arena in self._kept_arenas()}

    def put_back(self, arrays: Mapping[str, Array], step_count: int) -> None:
        """What `kept_arrays` gave at that step."""
        for name, arena in self._kept_arenas():
            arena[...] = arrays[name]
        self.step_count = step_count
        self.abandon_step()

    def _kept_arenas(self) -> Iterator[tuple[str, Array]]:
        """The arenas that a step finds as the one before has left them, but for the model's."""
        return ((name, self._arenas[name]) for name in self.optimizer.kept)

    # Training.

    def bind(self, X: Any, y: Any, allow_nonfinite: bool = False, sample_weight: Any = None) -> Bound:
        """Checks and converts data once; the result runs steps on it.

        X   (rows, inputs)
        y   what the loss takes: integer labels (rows,), or targets (rows, outputs)
        sample_weight   (rows,), finite, 0 or more: the loss is then a weighted mean, a sum over the batch divided by
                        the sum of its weights (as PyTorch's class weights; Keras divides by the number of rows). A
                        batch whose weights are all 0 has loss and gradient 0, penalties of layers apart

        Arrays that need no conversion are not copied. Bind again after changing them: a full batch is fetched once.
        """
        if self.loss is None:
            raise ValueError("Trainer(loss=None): without a loss use forward(), backward() and step()")
        allow_nonfinite = checks.flag("bind", "allow_nonfinite", allow_nonfinite)
        parameters, dtype = self.model.parameters, self.model.dtype
        data = parameters.checked_inputs(X, allow_nonfinite=allow_nonfinite)
        targets = self.loss.check_targets(y, parameters.outputs, dtype, "y", allow_nonfinite)
        checks.same_rows(data, targets)
        if isinstance(self.loss, CustomLoss):
            self.loss.check_weights(sample_weight)
        weights = None
        if sample_weight is not None:
            weights = sample_weights(sample_weight, len(data), dtype, native=self.loss.native)
        return self.bound(data, targets, weights)

    def bound(self, X: Array, targets: Array, weights: Array | None = None, taken: Array | None = None) -> Bound:
        """The same for data that has passed all checks, in the form that they gave it.

        taken   int64 row numbers: those that a full batch takes; None: all
        """
        assert self.loss is not None
        searches = isinstance(self.optimizer, Search)
        if isinstance(self.loss, CustomLoss):
            own = CustomSearchBound if searches else CustomBound
            return _checked(own(self, self.loss, X, targets, weights, taken))
        kind = SearchBound if searches else Bound
        return _checked(kind(self, self.loss, X, targets, weights, taken))

    def run(
        self, X: Any, y: Any, order: Any = None, *, steps: int | None = None, sample_weight: Any = None
    ) -> Array:  # fmt: skip
        """Trains and returns the loss of each step, (steps,) float64.

        order   int64 (steps, batch_size) row numbers, or (rows,), which is cut into batches, the last one smaller
        steps   instead of order: that many steps, each on all rows

        NonFiniteLoss when a loss is NaN or infinite; the parameters are then those from before the call, and moments
        and step count zero.
        """
        if (order is None) == (steps is None):
            raise ValueError("run(): give either order (mini-batches) or steps=n (full batch)")
        if steps is not None:
            steps = checks.integer("run", "steps", steps, minimum=0)
        bound, before = self.bind(X, y, sample_weight=sample_weight), self.model.parameters.copy_state()
        try:
            return bound.run(order) if steps is None else bound.run_full(steps)
        except NonFiniteLoss:
            self.model.parameters.restore_state(before)
            self.reset()
            raise

    def value_and_grad(self, theta: Any, X: Any, y: Any, sample_weight: Any = None) -> tuple[float, Array]:
        """The loss over all rows at theta, penalties of the layers included, and its gradient: what scipy.optimize asks
        for.

        theta   (model.parameters.count,): weights and biases in layer order, each flattened by rows; put into the model
        Returns a float and a float64 vector like theta. Dropout keeps the mask of step 0, running statistics are left
        alone.
        """
        vector = checks.numeric(theta, "theta")
        parameters = self.model.parameters
        if vector.shape != (parameters.count,):
            raise ValueError(f"theta: has shape {vector.shape}, expected ({parameters.count},)")
        bound = self.bind(X, y, sample_weight=sample_weight)
        parameters.unflatten(vector)
        before = parameters.state.copy()
        try:
            value = bound.differentiate()
        finally:
            parameters.state[...] = before
        return value, parameters.flatten(self._arenas["gradients"]).astype(np.float64)

    # The parts, for those who bring their own loop or loss.

    def forward(self, X: Any) -> Array:
        """The outputs (rows, outputs) of a batch in training mode; `backward` and `step` may follow."""
        data = self.model.parameters.checked_inputs(X)
        return self.forward_rows(data, np.arange(len(data)), self.step_count)

    def forward_rows(self, data: Array, order: Array, step: int) -> Array:
        """The same for some rows (int64) of data that has been checked, with the dropout masks of that step."""
        rows, outputs = len(order), self.model.parameters.outputs
        out = padded_matrix(rows, outputs, self.model.dtype)
        keys = self.dropout_keys(np.array([step]), np.zeros(1, np.int64))
        program = self._parts(rows)
        self.abandon_step()
        self._one_pass(program, "gather", "forward", rows, {"X": data, "order": order, **keys})
        self._one_pass(program, "output", "output", rows, {"outputs": out})
        self._forward = _Forward(program, rows, keys)
        return out.copy()

    def backward(self, doutputs: Any) -> None:
        """Gradients of all parameters from the gradient (rows, outputs) of a loss with respect to the last outputs.

        They are in `gradients` afterwards, those of the layers' penalties included, and `step` uses them.
        """
        last = self._forward
        if last is None:
            raise RuntimeError("backward(): call forward() first; each forward() serves one backward()")
        outputs, dtype = self.model.parameters.outputs, self.model.dtype
        given = checks.targets(doutputs, outputs, dtype, "doutputs", allow_nonfinite=True)
        if len(given) != last.rows:
            raise ValueError(f"doutputs: has {len(given)} rows, expected {last.rows} as in the last forward()")
        copy = padded_matrix(last.rows, outputs, dtype)
        copy[...] = given
        self.abandon_step()
        self._penalties[0] = 0.0
        columns = {"doutputs": copy, "accumulate": 0, "loss": self._penalties, **last.keys}
        self._one_pass(last.program, "loss", "penalty", last.rows, columns)
        self._differentiated = last.program

    def step(self) -> None:
        """One optimizer update with the gradients of the last `backward`, which serves one step."""
        program = self._differentiated
        if isinstance(self.optimizer, Search):
            raise RuntimeError(f"step(): {self.optimizer} makes no step of its own; use run() or bound data")
        if program is None:
            raise RuntimeError("step(): call backward() first; each backward() serves one step()")
        scalars = per_step(self.optimizer.scalars(np.array([self.step_count + 1.0]), self.lr), np.zeros(1, np.int64))
        self.abandon_step()
        self._one_pass(program, "update", "update", 0, scalars)
        self.step_count += 1

    @property
    def penalty(self) -> float:
        """The penalties of the layers (their `l1` and `l2`) at the last `backward`: what they add to the loss."""
        return float(self._penalties[0])

    def penalties(self, program: Program) -> float:
        """The penalties of the layers at the present weights; the gradients are those of nothing afterwards."""
        first, last = program.calls("penalty", "penalty")
        self._penalties[0] = 0.0
        if first < last:
            self._one_pass(program, "penalty", "penalty", 0, {"loss": self._penalties})
        return self.penalty

    def abandon_step(self) -> None:
        """Whatever `forward`, `backward` and `Bound.steps` have prepared is not used any more. Everything that computes
        calls this first, but for a step that was prepared and that nothing came before."""
        self.progress.generation += 1
        self._forward, self._differentiated = None, None

    # Plans.

    def program(
        self, rows: int, with_loss: bool = True, batches: int = 1, parts: int = 0, form: Loss | None = None,
        weighted: bool = False,
    ) -> Program:  # fmt: skip
        """The training plan for up to `rows` rows, bound to this trainer's memory and room for that many batches and
        parts of the gradients.

        form   what the loss is on the targets at hand; None: itself
        """
        loss = (form or self.loss) if with_loss else None
        loss = loss if loss is not None and loss.native else None
        key = (loss, weighted, rows, batches, parts)
        if key not in self._programs:
            plan = self._plan(loss, rows, parts > 0, rows if loss is not None else self.batch_size, weighted)
            if len(self._programs) == _KEPT_PROGRAMS:
                del self._programs[next(iter(self._programs))]  # the oldest; it is compiled again when it is needed
            self._programs[key] = Program(plan, self._arenas, self.backend, batches, parts, self.threads)
        return self._programs[key]

    def _plan(self, loss: Loss | None, rows: int, in_parts: bool, usual: int, weighted: bool) -> Plan:
        """A plan that `compile_training` makes, which other models of the same layers may have needed before."""
        model, optimizer, low = self.model, self.optimizer, self.precision == "bf16"
        of = (
            "training", model.layers, model.inputs, model.dtype, loss, values_but(optimizer, "lr"), rows, in_parts, low,
            usual, weighted,
        )  # fmt: skip
        return kept(
            of,
            lambda: compile_training(
                model.layers, model.parameters, loss, optimizer, rows, in_parts=in_parts, low_precision=low,
                usual=usual, weighted=weighted,
            ),
        )  # fmt: skip

    def _parts(self, rows: int) -> Program:
        """The plan without a loss; batches of many sizes share a few plans, each for twice the rows of the last."""
        capacity = 16
        while capacity < rows:
            capacity *= 2
        return self.program(capacity, with_loss=False)

    def tile_rows(self, rows: int) -> int:
        """How many of the rows of a full batch one pass takes."""
        return tile_rows(rows, self.model.layers, self.model.dtype)

    def dropout_keys(self, steps: Array, places: Array) -> dict[str, Column]:
        """The dropout keys of passes, by step, counted from 0, and place in it (int64): a column per layer."""
        counters = steps * _PASSES_OF_A_STEP + places
        return {
            f"dropout_key{node.number}": PerPass(step_keys(self.model.seed, node.number, counters))
            for node in self.model.parameters.nodes
            if node.layer.random
        }

    def _one_pass(self, program: Program, first: str, last: str, rows: int, given: Mapping[str, Any]) -> None:
        calls = np.array([program.calls(first, last)], np.int64)
        program.runner.run(Passes(calls, np.array([rows], np.int64), dict(given)))


def _copied(
    model: Model, loss: Loss | None, optimizer: Optimizer, batch_size: int, threads: int, backend: str,
    precision: str, lr: float, step_count: int, moments: dict[str, Array],
) -> Trainer:  # fmt: skip
    """What a copied or unpickled trainer is made by."""
    trainer = Trainer(model, loss, optimizer, batch_size, threads, backend, precision)
    trainer.lr, trainer.step_count = lr, step_count
    for name, moment in moments.items():
        trainer._arenas[name][...] = moment
    return trainer


def _checked(bound: Bound) -> Bound:
    """Bound data, unless the optimizer cannot work on them."""
    if isinstance(bound, (SearchBound, CustomSearchBound)):
        bound.check()
    return bound
