"""The iterations of SciPy's L-BFGS one by one."""

import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from .optimizers.search import LBFGS

Array = np.ndarray[Any, Any]


class Walk(NamedTuple):
    """The way that L-BFGS has gone: where it began, as a vector of all parameters, and how many iterations it has made;
    `again`: they have to be made again, because SciPy's memory of them is elsewhere."""

    start: Array
    iterations: int = 0
    again: bool = False


class Objective(Protocol):
    """What is minimised."""

    def value_and_grad(self, theta: Array) -> tuple[float, Array]:
        """The loss at these parameters, and its gradient."""


class Iterations:
    """Iterations from theta on.

    SciPy calls what it is given, and comes back when it is done; so it runs in a thread of its own, which waits after
    each iteration until the next one is asked for. Only one of the two threads is at work at any time. It knows what it
    minimises by a weak reference, so that it ends with it.

    theta   the parameters that the last iteration found
    """

    def __init__(self, objective: Objective, theta: Array, optimizer: LBFGS) -> None:
        self.theta, self._objective, self._optimizer = theta, weakref.ref(objective), optimizer
        self._ask, self._answer = threading.Semaphore(0), threading.Semaphore(0)
        self._stopped = self._done = False
        self._loss = np.nan
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    @property
    def begun(self) -> bool:
        """Whether an iteration has been made."""
        return self._thread is not None

    def next(self) -> float:
        """Makes an iteration, or none where it has converged; the loss after it. Whatever ends it early (Ctrl-C among
        it) leaves no thread at work, and `theta` as it was."""
        if not self._done:
            if self._thread is None:
                _minimize()
                self._thread = threading.Thread(target=self._work, name="fastnn-lbfgs", daemon=True)
                self._thread.start()
            try:
                self._ask.release()
                self._answer.acquire()
            except BaseException:
                self.stop()
                self._thread.join()
                raise
        if self._error is not None:
            raise self._error
        return float(self._loss)

    def stop(self) -> None:
        """Ends the thread, at the latest after the evaluation that it is in."""
        self._stopped = True
        self._ask.release()

    def _work(self) -> None:
        self._ask.acquire()
        optimizer = self._optimizer
        options = {"maxcor": optimizer.memory, "gtol": optimizer.gtol, "ftol": optimizer.ftol}
        options |= {"maxiter": 2**31 - 1, "maxfun": 2**31 - 1}
        try:
            if not self._stopped:
                _minimize()(
                    self._evaluate, self.theta, jac=True, method="L-BFGS-B", callback=self._after, options=options
                )
                if not np.isfinite(self._loss):
                    self._loss = self._evaluate(self.theta)[0]  # it had converged before its first iteration
        except BaseException as error:  # raised where the next iteration is asked for
            self._error = None if self._stopped else error
        self._done = True
        self._answer.release()

    def _evaluate(self, theta: Array) -> tuple[float, Array]:
        objective = self._objective()
        if objective is None or self._stopped:
            raise StopIteration
        return objective.value_and_grad(theta)

    def _after(self, intermediate_result: Any) -> None:
        """After an iteration: hands over, and waits."""
        if self._stopped:
            raise StopIteration
        self.theta, self._loss = intermediate_result.x.copy(), float(intermediate_result.fun)
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
