"""Data bound to a trainer whose optimizer searches (fastnn.optimizers.search): a step is made in Python, of losses, or
of losses and gradients, that native code computes."""

import threading
import weakref
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np

from . import randomness
from .bound import Bound, NonFiniteLoss
from .optimizers.search import LBFGS, Search
from .plan.program import Program
from .steps import Steps

Array = np.ndarray[Any, Any]


class SearchBound(Bound):
    """One data set, bound to a trainer with an optimizer that searches."""

    def _run(self, program: Program, steps: Steps, training: bool = True, rates: Array | None = None) -> Array:
        if not training:
            return super()._run(program, steps, training=False)
        trainer, losses = self._trainer, np.empty(len(steps.starts) // steps.passes)
        for index in range(len(losses)):
            rate = trainer.lr if rates is None else float(rates[index])
            losses[index] = self._step(program, steps, index, rate)
            if not np.isfinite(losses[index]):
                raise NonFiniteLoss(index, losses[: index + 1].copy())
            trainer.step_count += 1
        return losses

    def _step_by_step(self, program: Program, steps: Steps) -> Iterator[float]:
        for index in range(len(steps.starts)):
            loss = self._step(program, steps, index, self._trainer.lr)
            if not np.isfinite(loss):
                raise NonFiniteLoss(index, np.full(index + 1, loss))
            self._trainer.step_count += 1
            yield loss

    def _step(self, program: Program, steps: Steps, index: int, rate: float) -> float:
        """Makes one step and returns its loss."""
        trainer: Any = self._trainer
        trainer.abandon_step()
        optimizer, parameters = trainer.optimizer, trainer.model.parameters
        if isinstance(optimizer, LBFGS):
            rows = len(self._full)
            if steps.passes == 1 and steps.rows[0] != rows:
                raise ValueError(f"{optimizer}: takes all rows in each step; batch_size must be at least {rows}")
            return self._iterations.next()
        if steps.batch is None:
            program.gathered = None  # passes fetch their own rows into the first batch
        own = slice(index * steps.passes, (index + 1) * steps.passes)
        calls = steps.calls[own].copy()
        calls[:, 1] = program.calls("loss", "loss")[1]
        if steps.passes > 1:
            calls[-1] = 0  # that of the update
        whole = steps.calls.copy()
        whole[own] = calls
        only_losses, losses = steps._replace(calls=whole), np.zeros(len(steps.starts))
        numbers = np.full(own.stop - own.start, trainer.step_count)
        keys = trainer.dropout_keys(numbers, np.arange(own.stop - own.start))

        def value(theta: Array) -> float:
            parameters.unflatten(theta)
            passes = self._passes(program, only_losses, own, losses, training=False)
            passes.given |= keys
            program.runner.run(passes)
            return float(losses[own].sum()) + trainer.penalties(program)

        theta = parameters.flatten(parameters.arena).astype(np.float64)
        loss = value(theta)
        state = parameters.state.copy()  # running statistics move by the batch at theta alone
        try:
            generator = self._directions.at(trainer.step_count)
            theta = optimizer.move(value, theta, rate, generator, self._along) if np.isfinite(loss) else theta
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

    @cached_property
    def _iterations(self) -> "_Iterations":
        parameters = self._trainer.model.parameters
        optimizer: LBFGS = self._trainer.optimizer  # type: ignore[assignment]
        found = _Iterations(self, parameters.flatten(parameters.arena).astype(np.float64), optimizer)
        weakref.finalize(self, found.stop)
        return found

    def value_and_grad(self, theta: Array) -> tuple[float, Array]:
        """The loss of all rows at these parameters, and its gradient; running statistics are left alone."""
        trainer: Any = self._trainer
        parameters = trainer.model.parameters
        parameters.unflatten(theta)
        state = parameters.state.copy()
        value = self.differentiate()
        parameters.state[...] = state
        return value, parameters.flatten(trainer._arenas["gradients"]).astype(np.float64)

    def put(self, theta: Array) -> None:
        """Makes these the model's parameters."""
        self._trainer.model.parameters.unflatten(theta)


class _Iterations:
    """The iterations of SciPy's L-BFGS one by one.

    SciPy calls what it is given, and comes back when it is done; so it runs in a thread of its own, which waits after
    each iteration until the next one is asked for. Only one of the two threads is at work at any time. It knows the
    data by a weak reference, so that it ends with them.
    """

    def __init__(self, bound: SearchBound, theta: Array, optimizer: LBFGS) -> None:
        self._bound, self._theta, self._optimizer = weakref.ref(bound), theta, optimizer
        self._ask, self._answer = threading.Semaphore(0), threading.Semaphore(0)
        self._stopped = self._done = False
        self._loss = np.nan
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def next(self) -> float:
        """Makes an iteration, and the model's parameters those that it found; the loss there."""
        if not self._done:
            if self._thread is None:
                _minimize()
                self._thread = threading.Thread(target=self._work, name="fastnn-lbfgs", daemon=True)
                self._thread.start()
            self._ask.release()
            self._answer.acquire()
        bound = self._bound()
        assert bound is not None
        if self._error is not None:
            raise self._error
        bound.put(self._theta)
        return float(self._loss)

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped = True
        self._ask.release()

    def _work(self) -> None:
        self._ask.acquire()
        optimizer = self._optimizer
        options = {"maxcor": optimizer.memory, "gtol": optimizer.gtol, "ftol": optimizer.ftol, "maxiter": 2**31 - 1}
        options["maxfun"] = 2**31 - 1
        try:
            if not self._stopped:
                _minimize()(
                    self._evaluate, self._theta, jac=True, method="L-BFGS-B", callback=self._after, options=options
                )
        except BaseException as error:  # raised where the next iteration is asked for
            self._error = error
        if not np.isfinite(self._loss) and self._error is None and not self._stopped:
            self._loss = self._evaluate(self._theta)[0]  # it had converged before its first iteration
        self._done = True
        self._answer.release()

    def _evaluate(self, theta: Array) -> tuple[float, Array]:
        bound = self._bound()
        if bound is None:
            raise StopIteration
        return bound.value_and_grad(theta)

    def _after(self, intermediate_result: Any) -> None:
        """After an iteration: hands over, and waits."""
        self._theta, self._loss = intermediate_result.x.copy(), float(intermediate_result.fun)
        self._answer.release()
        self._ask.acquire()
        if self._stopped:
            raise StopIteration


def _minimize() -> Callable[..., Any]:
    """SciPy's minimize, or the error that says how to get it."""
    try:
        from scipy.optimize import minimize
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "scipy":
            raise
        raise ModuleNotFoundError("LBFGS takes SciPy: pip install 'fastnn[scipy]'", name="scipy") from None
    return minimize  # type: ignore[no-any-return]
