"""Data bound to a trainer whose optimizer searches (fastnn.optimizers.search): a step is made in Python, of losses, or
of losses and gradients, that native code computes."""

import weakref
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from . import randomness
from .bound import Bound, NonFiniteLoss
from .custom_loss import CustomBound
from .iterations import Iterations, Walk
from .optimizers.search import LBFGS, Search
from .plan.program import Program
from .steps import Steps

if TYPE_CHECKING:
    from .trainer import Trainer

Array = np.ndarray[Any, Any]


class _Searching:
    """What makes steps, whatever the loss is."""

    _trainer: "Trainer"
    _X: Array
    _taken: Array | None

    def check(self) -> None:
        """Refuses what the optimizer cannot work on."""
        optimizer, nodes = self._trainer.optimizer, self._trainer.model.parameters.nodes
        if isinstance(optimizer, LBFGS) and any(node.layer.random for node in nodes):
            raise ValueError(f"{optimizer}: needs the same loss again at the same weights, which Dropout has not")

    def _moved(self, value: Callable[[Array], float], rate: float) -> float:
        """Makes a step of an optimizer without gradients: the loss before it."""
        parameters = self._trainer.model.parameters
        optimizer: Search = self._trainer.optimizer  # type: ignore[assignment]
        theta = parameters.flatten(parameters.arena).astype(np.float64)
        loss = value(theta)
        state = parameters.state.copy()  # running statistics move by the batch at theta alone
        try:
            if np.isfinite(loss):
                generator = self._directions.at(self._trainer.step_count)
                theta = optimizer.move(value, theta, rate, generator, self._along)
        finally:
            parameters.unflatten(theta)
            parameters.state[...] = state
        return loss

    @cached_property
    def _directions(self) -> randomness.Stream:
        return randomness.Stream(randomness.key(self._trainer.model.seed, randomness.SEARCH))

    @cached_property
    def _along(self) -> Callable[[Array], Array]:
        """From a drawn direction to one of the parameters; they differ where the first layer takes in that inputs are
        standardised: W = M / deviation, b = c - mean W."""
        optimizer: Search = self._trainer.optimizer  # type: ignore[assignment]
        if not getattr(optimizer, "standardises", False):
            return lambda drawn: drawn
        entries = self._trainer.model.parameters.entries[:2]
        if [(entry.layer, entry.kind) for entry in entries] != [(0, "weight"), (0, "bias")]:
            raise ValueError(f"{optimizer}: the first layer must be Dense with a bias")
        X = self._X if self._taken is None else self._X[self._taken]
        mean, deviation = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
        deviation = np.where(deviation > 0, deviation, 1.0)[:, None]
        inputs, units = entries[0].shape

        def along(drawn: Array) -> Array:
            found = drawn.copy()
            weight = found[: inputs * units].reshape(inputs, units)
            weight /= deviation
            found[inputs * units : (inputs + 1) * units] -= mean @ weight
            return found

        return along

    # L-BFGS.

    def differentiate(self) -> float:
        """As `Bound.differentiate`."""
        raise NotImplementedError

    @cached_property
    def _iterations(self) -> Iterations:
        trainer, parameters = self._trainer, self._trainer.model.parameters
        optimizer: LBFGS = trainer.optimizer  # type: ignore[assignment]
        now = parameters.flatten(parameters.arena)
        walk = trainer.walk if trainer.walk is not None and trainer.walk.again else Walk(now.astype(np.float64))
        found = Iterations(self, walk.start.copy(), optimizer)
        weakref.finalize(self, found.stop)
        try:
            for _ in range(walk.iterations):
                found.next()
        finally:
            parameters.unflatten(now)
        trainer.walk = walk._replace(again=False)
        return found

    def _iterated(self, rows: Array | None, given_rates: bool) -> float:
        """Makes an iteration on all rows: the loss after it.

        rows   those of the step; None: all
        """
        optimizer, parameters = self._trainer.optimizer, self._trainer.model.parameters
        count = len(self._X) if self._taken is None else len(self._taken)
        if rows is not None and (len(rows) != count or len(np.unique(rows)) != count):
            raise ValueError(f"{optimizer}: takes all rows in each step, once; batch_size must be at least {count}")
        if given_rates:
            raise ValueError(f"{optimizer}: chooses its own steps, and takes no rates")
        now = parameters.flatten(parameters.arena)
        changed = not np.array_equal(now, self._iterations.theta.astype(now.dtype))  # by somebody else
        if changed or (self._iterations.begun and self._trainer.step_count == 0):
            self._begin_again()
        iterations, walk = self._iterations, self._trainer.walk
        assert walk is not None
        try:
            loss = iterations.next()
            self._trainer.walk = walk._replace(iterations=walk.iterations + 1)
            return loss
        except BaseException:
            self._begin_again()
            raise
        finally:
            parameters.unflatten(iterations.theta)
            if parameters.state.size:
                self.differentiate()  # running statistics move once a step

    def _begin_again(self) -> None:
        self._iterations.stop()
        del self._iterations

    def value_and_grad(self, theta: Array) -> tuple[float, Array]:
        """The loss of all rows at these parameters, and its gradient; running statistics are left alone."""
        trainer: Any = self._trainer
        parameters = trainer.model.parameters
        parameters.unflatten(theta)
        state = parameters.state.copy()
        value = self.differentiate()
        parameters.state[...] = state
        return value, parameters.flatten(trainer._arenas["gradients"]).astype(np.float64)


class SearchBound(_Searching, Bound):
    """One data set, bound to a trainer with an optimizer that searches."""

    def differentiate(self) -> float:
        """As `Bound.differentiate`."""
        return Bound.differentiate(self)

    def _run(self, program: Program, steps: Steps, training: bool = True, rates: Array | None = None) -> Array:
        if not training:
            return super()._run(program, steps, training=False)
        trainer, losses = self._trainer, np.empty(len(steps.starts) // steps.passes)
        for index in range(len(losses)):
            losses[index] = self._step(program, steps, index, None if rates is None else float(rates[index]))
            if not np.isfinite(losses[index]):
                raise NonFiniteLoss(index, losses[: index + 1].copy())
            trainer.step_count += 1
        return losses

    def _step_by_step(self, program: Program, steps: Steps) -> Iterator[float]:
        for index in range(len(steps.starts)):
            loss = self._step(program, steps, index, None)
            if not np.isfinite(loss):
                raise NonFiniteLoss(index, np.full(index + 1, loss))
            self._trainer.step_count += 1
            yield loss

    def _step(self, program: Program, steps: Steps, index: int, rate: float | None) -> float:
        """Makes one step and returns its loss."""
        trainer: Any = self._trainer
        trainer.abandon_step()
        if isinstance(trainer.optimizer, LBFGS):
            start = steps.starts[index * steps.passes]
            whole = steps.passes > 1 or steps.batch is not None
            rows = None if whole else steps.order[start : start + steps.rows[index]]
            return self._iterated(rows, rate is not None)
        if steps.batch is None:
            program.gathered = None  # passes fetch their own rows into the first batch
        own = slice(index * steps.passes, (index + 1) * steps.passes)
        calls = steps.calls[own].copy()
        calls[:, 1] = program.calls("loss", "loss")[1]
        if steps.passes > 1:
            calls[-1] = 0  # that of the update
        whole_calls = steps.calls.copy()
        whole_calls[own] = calls
        only_losses, losses = steps._replace(calls=whole_calls), np.zeros(len(steps.starts))
        numbers = np.full(own.stop - own.start, trainer.step_count)
        keys = trainer.dropout_keys(numbers, np.arange(own.stop - own.start))

        def value(theta: Array) -> float:
            trainer.model.parameters.unflatten(theta)
            passes = self._feed.passes(program, only_losses, own, losses, training=False)
            passes.given |= keys
            program.runner.run(passes)
            return float(losses[own].sum()) + trainer.penalties(program)

        return self._moved(value, trainer.lr if rate is None else rate)


class CustomSearchBound(_Searching, CustomBound):
    """The same where the loss is a Python function; of its pair only the value is used, but by L-BFGS."""

    def differentiate(self) -> float:
        """As `CustomBound.differentiate`."""
        return CustomBound.differentiate(self)

    def _train(self, batches: list[Array], rates: Any) -> Array:
        if rates is not None and isinstance(self._trainer.optimizer, LBFGS):
            raise ValueError(f"{self._trainer.optimizer}: chooses its own steps, and takes no rates")
        return super()._train(batches, rates)

    def _step(self, rows: Array) -> float:
        trainer: Any = self._trainer
        trainer.abandon_step()
        step = trainer.step_count
        if isinstance(trainer.optimizer, LBFGS):
            loss = self._iterated(rows, given_rates=False)
        else:

            def value(theta: Array) -> float:
                trainer.model.parameters.unflatten(theta)
                outputs = trainer.forward_rows(self._X, rows, step)
                loss = self._function.value(outputs, self._y[rows], self._weights_of(rows))
                return loss + float(trainer.penalties(trainer._parts(len(rows))))

            loss = self._moved(value, trainer.lr)
        if np.isfinite(loss):
            trainer.step_count = step + 1
        return loss
