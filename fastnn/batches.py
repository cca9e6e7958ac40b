"""Batches from an iterator: what a training, or its validation, reads where the data is no pair of arrays.

    model.fit(loader, loss="cross_entropy", epochs=10)                        # a list of batches, a DataLoader
    model.fit(read_shards, loss="mse", epochs=10, steps_per_epoch=1000)       # a function that returns an iterator

A batch is (X, y) or (X, y, sample_weight), arrays or what NumPy can make arrays of. Each is one step of its own size.
They are drawn some MB ahead and go to native code together, so that a step costs little more than its batch took to
make.
"""

from __future__ import annotations

import inspect
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastnn import checks, scoring
from fastnn.losses import CustomLoss
from fastnn.losses.base import reciprocal
from fastnn.losses.weights import class_weights, weights_of_rows

if TYPE_CHECKING:
    from fastnn.losses import Loss
    from fastnn.metrics import Metric
    from fastnn.model import Sequential
    from fastnn.predictor import Predictor
    from fastnn.trainer import Trainer

Array = np.ndarray[Any, Any]
# Batches are drawn until they have so many bytes, or have taken so long; neither changes a bit.
GATHER_BYTES, GATHER_SECONDS = 2**22, 0.05


class Ready(NamedTuple):
    """Rows, targets and weights as native code takes them.

    factor   a power of two: weights, of which only the ratios count within a batch, times this are those that were
             given, which count between batches
    """

    X: Array
    y: Array
    weights: Array | None
    factor: float = 1.0

    @property
    def given_weights(self) -> Array | None:
        """(rows,) float64, or None."""
        return None if self.weights is None else self.weights.astype(np.float64) * self.factor


class Batch(NamedTuple):
    """Rows, their targets and weights (float64), not yet converted, and what errors call them."""

    X: Array
    y: Array
    weights: Array | None
    name: str


def are_batches(data: Any) -> bool:
    """Whether data given without targets is batches: a function, or what can be iterated over and is no array."""
    return callable(data) or (isinstance(data, Iterable) and not hasattr(data, "__array__"))


def epochs_of(given: Any) -> Callable[[int], Iterator[Any]]:
    """What opens the batches of an epoch, counted from 0: of a function, which is told the number if it cannot be
    called without, or of an iterable."""
    if not callable(given):
        return lambda epoch: iter(given)
    if _takes_argument(given):
        return lambda epoch: iter(given(epoch))
    return lambda epoch: iter(given())


class Batches:
    """Batches as a user gives them.

    given   a function that returns an iterator over an epoch, without arguments or of the epoch's number, counted from
            0; an iterable that begins anew each time, such as a list; or an iterator, which goes on from epoch to epoch
    steps   batches of an epoch, None: all there are
    first   the number of the training's first epoch, with which an iterator begins
    class_weight   as `fit` takes it, but for "balanced"
    """

    def __init__(
        self, given: Any, name: str, model: Sequential, loss: Loss, allow_nonfinite: bool, steps: int | None = None,
        first: int = 0, class_weight: Any = None,
    ) -> None:  # fmt: skip
        self.given, self.name, self.steps = given, name, steps
        self.begins_anew = callable(given) or iter(given) is not given
        self._model, self._loss, self._allow_nonfinite = model, loss, allow_nonfinite
        self._epochs = epochs_of(given) if self.begins_anew else None
        self._first, self._drawn = first, 0  # by an iterator that goes on
        if isinstance(class_weight, str):
            raise ValueError(
                f"fit(class_weight={class_weight!r}): needs all targets; give batches a weight for each class"
            )
        self._class_weight = class_weight
        self.by_class: Array | None = None
        self._ready: dict[int, Iterator[Batch]] = {}

    @property
    def expected(self) -> int | None:
        """How many batches an epoch has, as far as that is known."""
        if self.steps is None and not callable(self.given) and hasattr(self.given, "__len__"):
            return len(self.given)
        return self.steps

    def first_rows(self, epoch: int) -> int:
        """Rows of the first batch of an epoch, which is checked, and kept until `of` asks for it."""
        batches = self.of(epoch)
        batch = next(batches, None)
        if batch is None:
            raise ValueError(f"{self.name}: gave no batch for epoch {epoch + 1}")
        self.checked([batch])
        self._ready[epoch] = itertools.chain([batch], batches)
        return len(batch.X)

    def of(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, counted from 0; ValueError or TypeError for one that is none."""
        return self._ready.pop(epoch, None) or self._read(epoch)

    def _read(self, epoch: int) -> Iterator[Batch]:
        iterator = self._open(epoch)
        try:
            for number in itertools.count(1) if self.steps is None else range(1, self.steps + 1):
                try:
                    item = next(iterator)
                except StopIteration:
                    break
                self._drawn += 1
                yield self._batch(item, f"{self.name}: batch {number} of epoch {epoch + 1}")
            else:
                return
            if self.steps is not None:
                raise ValueError(
                    f"{self.name}: epoch {epoch + 1} ended after {number - 1} batches, expected steps_per_epoch="
                    f"{self.steps}"
                )
        finally:
            if self.begins_anew and hasattr(iterator, "close"):
                iterator.close()

    def _open(self, epoch: int) -> Iterator[Any]:
        if self._epochs is not None:
            return self._epochs(epoch)
        iterator: Iterator[Any] = iter(self.given)
        # In a resumed training a new iterator passes by what the one before has given.
        for _ in range((epoch - self._first) * (self.steps or 0) - self._drawn):
            next(iterator, None)
            self._drawn += 1
        return iterator

    def _batch(self, item: Any, name: str) -> Batch:
        if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
            raise TypeError(f"{name} is {type(item).__name__}, expected (X, y) or (X, y, sample_weight)")
        X = checks.numeric(item[0], f"{name}: X")
        y = checks.numeric(item[1], f"{name}: y") if self._loss.native else np.asarray(item[1])
        if X.ndim == 0 or len(X) == 0:
            raise ValueError(f"{name}: X has shape {X.shape}, expected at least one row")
        if y.ndim == 0 or len(y) != len(X):
            raise ValueError(f"{name}: y has shape {y.shape}, expected {len(X)} rows as in X")
        weights = None
        if len(item) == 3 and item[2] is not None:
            scaled = scoring.row_weights(self._model, self._loss, item[2], len(X), f"{name}: sample_weight")
            weights = scaled.astype(np.float64) * _factor(np.asarray(item[2]), scaled)
        return Batch(X, y, weights, name)

    def checked(self, batches: Sequence[Batch]) -> Ready:
        """Rows, targets and weights of several batches, one after the other, as native code takes them."""
        if len(batches) > 1:
            try:
                X, y = (np.concatenate(parts) for parts in zip(*((b.X, b.y) for b in batches), strict=True))
                return self._converted(Batch(X, y, self._together(batches), self.name))
            except (ValueError, TypeError):
                pass  # one by one they are fine, or the one that is not is named
        found = [self._converted(batch) for batch in batches]
        if len(found) == 1:
            return found[0]
        for batch, ready in zip(batches, found, strict=True):
            if ready.y.shape[1:] != found[0].y.shape[1:]:
                first = f"{(len(batch.X), *found[0].y.shape[1:])} as in {batches[0].name}"
                raise ValueError(f"{batch.name}: y has shape {ready.y.shape}, expected {first}")
        X, y = (np.concatenate(parts) for parts in zip(*((ready.X, ready.y) for ready in found), strict=True))
        return self._weighted(X, y, self._together(batches))

    def go_together(self, one: Batch, other: Batch) -> bool:
        """Whether a call can take both: a function of one's own is given weights of 1 or none, which need not be the
        same to it, by the batch and not by what was drawn beside it."""
        return self._loss.native or (one.weights is None) == (other.weights is None)

    def _together(self, batches: Sequence[Batch]) -> Array | None:
        """The weights of several batches; rows of those without any weigh 1."""
        if all(batch.weights is None for batch in batches):
            return None
        return np.concatenate([np.ones(len(batch.X)) if batch.weights is None else batch.weights for batch in batches])

    def _converted(self, batch: Batch) -> Ready:
        model, name = self._model, batch.name
        X = model.parameters.checked_inputs(batch.X, f"{name}: X", self._allow_nonfinite)
        y = self._loss.check_targets(batch.y, model.outputs, model.dtype, f"{name}: y", self._allow_nonfinite)
        return self._weighted(X, y, batch.weights)

    def _weighted(self, X: Array, y: Array, given: Array | None) -> Ready:
        """Checked rows with weights, which are those given times those of the classes."""
        model, loss = self._model, self._loss
        if self._class_weight is not None and self.by_class is None:
            if isinstance(loss, CustomLoss):
                loss.check_weights(self._class_weight)
            self.by_class = class_weights(self._class_weight, loss, y, model.outputs)
        by_row = None if given is None else scoring.row_weights(model, loss, given, len(X))
        weights = weights_of_rows(self.by_class, by_row, loss, y, model.outputs, model.dtype)
        if weights is None:
            return Ready(X, y, None)
        product = np.ones(len(X)) if given is None else given
        if self.by_class is not None:
            product = product * self.by_class[loss.classes(y, model.outputs)[0]]
        return Ready(X, y, weights, _factor(product, weights))


def _ones_or(ready: Ready) -> Array:
    weights = ready.given_weights
    return np.ones(len(ready.y)) if weights is None else weights


def _factor(given: Array, scaled: Array) -> float:
    """The power of two by which weights were divided, and rounded then."""
    largest = float(scaled.max())
    return 1.0 if largest == 0.0 else float(2.0 ** np.round(np.log2(float(given.max()) / largest)))


class BatchSource:
    """Batches as the source of a training."""

    def __init__(self, trainer: Trainer, batches: Batches) -> None:
        self._trainer, self._batches = trainer, batches
        self._iterator: Iterator[Batch] = iter(())
        self._fetched: list[Batch] = []
        self._waiting: Batch | None = None  # drawn, and not to go with those before it
        self._data: Ready
        self._sizes: list[int] = []  # rows of the steps of this epoch
        self._masses: list[float] = []  # the sums of their weights
        self._error: Exception | None = None
        self._epoch = 0
        self._weighted = False

    @property
    def steps(self) -> int | None:
        return self._batches.expected

    def begin(self, epoch: int, done: int) -> None:
        self._iterator, self._epoch, self._error = self._batches.of(epoch), epoch, None
        self._sizes, self._masses, self._weighted, self._waiting = [], [], False, None
        for batch in itertools.islice(self._iterator, done):
            self._count([batch], self._batches.checked([batch]))
        if len(self._sizes) < done:
            raise ValueError(
                f"{self._batches.name}: gave {len(self._sizes)} batches in epoch {epoch + 1}, where the checkpoint has "
                f"made {done} steps"
            )

    def fetch(self, limit: int) -> int:
        if self._error is not None:
            raise self._error
        self._fetched, size = [], 0
        end = time.perf_counter() + GATHER_SECONDS
        while len(self._fetched) < limit and size < GATHER_BYTES:
            try:
                batch, self._waiting = self._waiting or next(self._iterator, None), None
            except Exception as error:
                if not self._fetched:
                    raise
                self._error = error  # after the steps on what came before it
                break
            if batch is None:
                break
            if self._fetched and not self._batches.go_together(self._fetched[0], batch):
                self._waiting = batch
                break
            self._fetched.append(batch)
            size += batch.X.nbytes
            if time.perf_counter() > end:
                break
        if self._fetched:
            self._check()
        elif not self._sizes:
            raise ValueError(f"{self._batches.name}: gave no batch for epoch {self._epoch + 1}")
        return len(self._fetched)

    def _check(self) -> None:
        """Convert what was fetched; what comes before a batch that is wrong is still trained on."""
        try:
            self._data = self._batches.checked(self._fetched)
        except (ValueError, TypeError):
            for good, batch in enumerate(self._fetched):
                try:
                    self._batches.checked([batch])
                except (ValueError, TypeError) as error:
                    if good == 0:
                        raise
                    self._error, self._fetched = error, self._fetched[:good]
                    break
            self._data = self._batches.checked(self._fetched)

    def run(self, rates: Array | None) -> Array:
        sizes = self._count(self._fetched, self._data)
        return self._trainer.bound(*self._data[:3]).run_batches(sizes, rates)

    def _count(self, batches: Sequence[Batch], ready: Ready) -> Array:
        """The rows of some batches, which are entered into the epoch's books with their weights."""
        weights = ready.given_weights
        sizes = np.array([len(batch.X) for batch in batches])
        self._sizes += sizes.tolist()
        if weights is None:
            self._masses += sizes.tolist()
        else:
            self._weighted = True
            self._masses += np.add.reduceat(weights, np.cumsum(sizes) - sizes).tolist()
        return sizes

    def rows_of(self, steps: int) -> int:
        return sum(self._sizes[:steps])

    def share(self) -> Array:
        masses = np.array(self._masses, np.float64)
        return masses * reciprocal(masses.sum()) if self._weighted else masses / masses.sum()

    def goes_ahead(self, constant: bool) -> bool:
        """As `Source.goes_ahead`."""
        del constant
        return False

    def run_epochs(self, first: int, count: int, rates: Array | None) -> Array:
        """Never asked for."""
        raise NotImplementedError

    def close(self) -> None:
        self._iterator = iter(())


class BatchScorer:
    """Loss and metrics of a model on batches, which are read anew each time; outputs and targets are kept for the
    metrics, rows are not."""

    data: tuple[Array, ...] = ()

    def __init__(
        self, batches: Batches, predictor: Predictor, parameters: int, loss: Loss, metrics: Mapping[str, Metric]
    ) -> None:
        self._batches, self._predictor, self._parameters = batches, predictor, parameters
        self._loss, self.metrics = loss, metrics

    def __call__(self) -> dict[str, float]:
        """The loss under "loss", then each metric under its name."""
        return self._score(self._batches.of(0))

    def rehearse(self) -> None:
        """Score the first batch, so that metrics that do not fit fail before training, and the plan is made."""
        self._batches.first_rows(0)
        self._score(itertools.islice(self._batches.of(0), 1))

    def _score(self, batches: Iterable[Batch]) -> dict[str, float]:
        found = []
        for batch in batches:
            ready = self._batches.checked([batch])
            found.append(ready._replace(X=scoring.predict_rows(self._predictor, ready.X, self._parameters)))
        if not found:
            raise ValueError(f"{self._batches.name}: gave no batch")
        outputs, targets = (np.concatenate(parts) for parts in zip(*((r.X, r.y) for r in found), strict=True))
        weights = None
        if any(ready.weights is not None for ready in found):
            weights = np.concatenate([_ones_or(ready) for ready in found])
        return scoring.scores(outputs, targets, weights, self._loss, self.metrics)


def _takes_argument(function: Callable[..., Any]) -> bool:
    """Whether a function wants to be told the epoch: it cannot be called without an argument."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return False
    try:
        signature.bind()
    except TypeError:
        return True
    return False
