"""A feed-forward network: layers one after the other, their numbers in one allocation, and what users do with them.

`Sequential` holds layers (frozen descriptions), parameters (numbers) and nothing of a training: each `fit` builds a
trainer, which compiles the layers to a plan over the same parameters. What only some uses need (the training loop,
scores, model files) is imported by the methods that need it, so that a process with its own loop starts 10 ms sooner.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import checks
from fastnn.activations import Custom, get_activation
from fastnn.initializers import default_initializer, draw, get_initializer, stream
from fastnn.layers import Activation, Dense, Layer
from fastnn.layers.base import checked_layers, written
from fastnn.losses import LOSSES, Loss, get_loss
from fastnn.plan.arena import Parameters

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from fastnn import storage
    from fastnn.callbacks import CallbacksLike, ProgressBar
    from fastnn.history import History
    from fastnn.metrics import MetricsLike
    from fastnn.predictor import Predictor
    from fastnn.preprocessing import Transform
    from fastnn.schedules import ScheduleLike
    from fastnn.sources import BlockShuffle

DTYPES = ("float32", "float64")


class Sequential:
    """A stack of layers.

    layers   Dense, Activation, BatchNorm and so on (docs/methods.md), blocks of them such as Residual([...]); at least
             one
    inputs   number of input features, at least 1; where Flatten is the first layer also the shape of a row of data,
             such as (28, 28), which stands for the product
    dtype    "float32" or "float64": parameters, arithmetic and outputs
    seed     0 or more; decides initial weights, shuffling, the validation split and dropout. The same seed, machine
             and backend give the same bits.

    Attributes: layers (tuple), inputs, outputs, dtype, seed, count (of trainable numbers), loss (that of the last
    `fit`, None before) and parameters, the numbers themselves.
    """

    def __init__(
        self, layers: Iterable[Any], inputs: int | tuple[int, ...], dtype: DTypeLike = "float32", seed: int = 0
    ) -> None:
        self.layers = _layers(layers)
        self.inputs = _inputs(inputs, self.layers[0])
        self.dtype = _dtype(dtype)
        self.seed = checks.integer("Sequential", "seed", seed, minimum=0)
        self.loss: Any = None
        self._allocate()
        self._initialize()

    def _allocate(self) -> None:
        self.parameters = Parameters(self.layers, self.inputs, self.dtype)
        self._predictors = threading.local()

    def _initialize(self) -> None:
        """The starting values: weights and biases as fastnn.initializers draws them, the rest as its layer says."""
        random = stream(self.seed)
        for entry in self._numbers():
            node = self.parameters.nodes[entry.layer]
            layer: Any = node.layer
            kind = entry.kind.rstrip("0123456789")  # a layer may have weight0 and weight4
            if kind not in ("weight", "bias"):
                with np.errstate(over="ignore"):
                    entry.value[...] = layer.start(entry.kind)
                if not np.isfinite(entry.value).all():
                    name = f"{entry.kind} of layer {entry.path.removeprefix('layers.')}"
                    raise ValueError(f"Sequential: {name} holds numbers beyond {self.dtype}")
                continue
            initializer = getattr(layer, f"{kind}_init")
            if initializer is None:
                initializer = default_initializer(_activation_after(layer, node.following), kind)
            initializer = get_initializer(initializer)
            number = int(entry.kind.removeprefix(kind)) + 1 if kind != entry.kind else 0
            entry.value[...] = draw(
                initializer, random, entry.layer, kind, entry.shape, fan_in=node.inputs, number=number
            )

    @property
    def outputs(self) -> int:
        """Width of the last layer."""
        return self.parameters.outputs

    @property
    def count(self) -> int:
        """How many numbers training changes."""
        return self.parameters.count

    def fit(
        self,
        X: Any,
        y: ArrayLike | None = None,
        *,
        loss: Any = None,
        optimizer: Any = "adam",
        epochs: int = 10,
        batch_size: int = 32,
        steps_per_epoch: int | None = None,
        validation_data: Any = None,
        validation_split: float = 0.0,
        class_weight: Any = None,
        sample_weight: ArrayLike | None = None,
        schedule: ScheduleLike | None = None,
        metrics: MetricsLike | None = None,
        callbacks: CallbacksLike = (),
        shuffle: bool | str | BlockShuffle = True,
        threads: int = 1,
        backend: str = "auto",
        precision: str | None = None,
        progress: bool | ProgressBar = True,
        allow_nonfinite: bool = False,
        initial_epoch: int = 0,
        resume: bool | storage.PathLike = False,
    ) -> History:
        """Train from the present weights and return the history.

        X                 (rows, inputs): anything NumPy can turn into numbers; used without a copy when it is a
                          C-contiguous array of the model's dtype, also one in a file (np.load(path, mmap_mode="r")),
                          which may be larger than memory; or, without y, batches (X, y) or (X, y, sample_weight): an
                          iterable, or a function that returns an iterator for an epoch (see docs/training.md)
        y                 targets of the loss: labels (rows,) for losses of classes such as "cross_entropy", numbers
                          (rows, outputs), or (rows,) with one output, for the others, such as "mse" and "bce"
        loss              "cross_entropy", "mse", "bce", another name of docs/methods.md, or an instance; or a function
                          of (outputs, targets) that returns value and gradient, see CustomLoss; None: that of the last
                          fit
        optimizer         a name of docs/methods.md such as "adam", "sgd" or "lion", or an instance such as
                          Adam(lr=1e-3). Each call of fit starts it afresh: its moments do not survive a call (a
                          Trainer's do)
        epochs            passes over the data, at least 1
        batch_size        rows of a step; the smaller last batch of an epoch is trained on too. As many rows as there
                          are, or more: full batch, not shuffled, because the order does not matter then. Batches from
                          an iterator have the rows they have
        steps_per_epoch   how many batches of an iterator make an epoch; None: all that it gives
        validation_data   (X, y), or (X, y, sample_weight), to score after each epoch, or batches of such, or
        validation_split  the share of the rows (at least 0, below 1) to set aside for that: drawn by the model's seed
                          before any shuffling, the same rows in every call, not stratified; those of
                          `fastnn.data.split_rows(rows, validation_split, seed)`
        class_weight      what each class counts in the loss: "balanced", for classes that count alike however many rows
                          they have (among those to train on); {class: weight}, 1 for others; or an array (classes,)
        sample_weight     (rows,) what each row counts, finite, 0 or more; with class_weight both multiply. The loss of
                          a batch, of an epoch and of the validation data is then a weighted mean, which divides by the
                          sum of the weights (Keras: by the number of rows, and class weights do not reach its
                          validation); metrics count all rows alike
        schedule          the rate over time, see fastnn.schedules: None (constant), an instance such as Cosine(100), a
                          function (lr0, epoch) or a list of rates. The history's lr is that of an epoch's last step
        metrics           scored on the validation data beside the loss, as in evaluate; None: those of the loss
        callbacks         see fastnn.callbacks; plain functions are called with the context after each epoch
        shuffle           a new order in each epoch, from the seed and the epoch's number alone; "blocks", or a
                          BlockShuffle, for files larger than memory: an order that reads them block by block
        threads, backend, precision   see Trainer
        progress          True: a bar where standard error is a terminal, nothing elsewhere; False: nothing;
                          or a ProgressBar
        allow_nonfinite   accept NaN and infinity in X and y
        initial_epoch     epochs already done: the schedule, the shuffling and the history count on from there (moments
                          and dropout start afresh)
        resume            a checkpoint to go on from, to the bits of a training that never stopped: a file, or True for
                          that of the `Checkpoint` among the callbacks, if it has written one; the training starts
                          from its beginning if not. `epochs` counts from the beginning, with those already done; the
                          model's present numbers do not matter, and arguments that would change the result must be as
                          they were: see docs/training.md

        Bad arguments raise before anything is changed. A loss that becomes NaN or infinite raises NonFiniteLoss, which
        names epoch and step; the model then has the weights of the last good epoch (in epochs of more than 10,000
        steps: of the last good multiple of that). Ctrl-C ends the training between two steps: a line on standard error
        says so, fit returns the history as usual (history.stopped is "interrupted") and the model can be used, saved
        and trained further; before the first step it is a KeyboardInterrupt like any other. Callbacks get their
        on_train_end in both cases, so that EarlyStopping still goes back to the best epoch.
        """
        from fastnn import training

        return training.fit(
            self,
            X,
            y,
            loss=self._loss("fit", loss),
            optimizer=optimizer,
            epochs=epochs,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            validation_data=validation_data,
            validation_split=validation_split,
            class_weight=class_weight,
            sample_weight=sample_weight,
            schedule=schedule,
            metrics=metrics,
            callbacks=callbacks,
            shuffle=shuffle,
            threads=threads,
            backend=backend,
            precision=precision,
            progress=progress,
            allow_nonfinite=allow_nonfinite,
            initial_epoch=initial_epoch,
            resume=resume,
        )

    def predict(self, X: ArrayLike, *, backend: str = "auto", allow_nonfinite: bool = False) -> np.ndarray:
        """Raw outputs of the last layer (rows, outputs), of the model's dtype, in inference mode.

        Class numbers are `predict(X).argmax(axis=1)`; for "bce" the answer is yes where the output is above 0.
        """
        from fastnn import scoring

        allow_nonfinite = checks.flag("predict", "allow_nonfinite", allow_nonfinite)
        X = self.parameters.checked_inputs(X, allow_nonfinite=allow_nonfinite, whole=False)
        return scoring.predict_rows(self.predictor(backend), X, self.count)

    def predictor(self, backend: str = "auto") -> Predictor:
        """The plan for inference, made once per backend and thread: its workspace serves one call at a time."""
        from fastnn.predictor import Predictor

        found: dict[str, Predictor] = vars(self._predictors)
        if backend not in found:
            found[backend] = Predictor(self, backend)
        return found[backend]

    def evaluate(
        self,
        X: ArrayLike,
        y: ArrayLike,
        metrics: MetricsLike | None = None,
        *,
        loss: Any = None,
        sample_weight: ArrayLike | None = None,
        backend: str = "auto",
        allow_nonfinite: bool = False,
    ) -> dict[str, float]:
        """The loss, without penalties of layers, and the metrics on data, as `{"loss": ..., "accuracy": ...}`, in
        inference mode.

        metrics   names ("accuracy", "f1", "rmse" ...), instances (TopK(3)) or functions (outputs, targets), see
                  fastnn.metrics; None: those of the loss
        loss      as in fit; None: that of the last fit, which a saved model remembers
        sample_weight   (rows,) what each row counts in the loss, as in fit; metrics count all rows alike
        """
        from fastnn import scoring

        loss = self._loss("evaluate", loss)
        allow_nonfinite = checks.flag("evaluate", "allow_nonfinite", allow_nonfinite)
        functions = scoring.metrics_of(loss, metrics)
        score = scoring.scorer(
            self, X, y, loss=loss, metrics=functions, backend=backend, allow_nonfinite=allow_nonfinite,
            sample_weight=sample_weight,
        )  # fmt: skip
        return score()

    def _loss(self, owner: str, loss: Any) -> Any:
        if loss is None:
            if self.loss is None:
                raise ValueError(f"{owner}(loss=None): this model was not fitted yet, say one of {', '.join(LOSSES)}")
            return self.loss
        return get_loss(loss)

    def _numbers(self) -> list[Any]:
        """Parameters and running statistics in layer order."""
        return sorted((*self.parameters.entries, *self.parameters.buffers), key=lambda entry: entry.layer)

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all numbers in layer order, those of a block where it stands: weight (fan_in, fan_out) and bias
        (fan_out,) of a Dense; gamma, beta, running_mean and running_var (features,) of a BatchNorm; the tables
        (categories, width) of an Embedding; mean and scale of a Standardize."""
        return [entry.value.copy() for entry in self._numbers()]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Replace all numbers: arrays in the order and with the shapes of `get_weights`.

        Raises ValueError or TypeError, and changes nothing, when one does not fit or holds NaN or infinity.
        """
        entries = self._numbers()
        weights = list(weights)
        if len(weights) != len(entries):
            raise ValueError(f"set_weights: {len(weights)} arrays given, this model has {len(entries)}")
        checked = [self._weight(entry, weight) for entry, weight in zip(entries, weights, strict=True)]
        for entry, value in zip(entries, checked, strict=True):
            entry.value[...] = value

    def _weight(self, entry: Any, weight: ArrayLike) -> np.ndarray:
        name = f"set_weights: {entry.kind} of layer {entry.path.removeprefix('layers.')}"
        value = np.asarray(weight)
        if value.dtype.kind not in "fiub":
            raise TypeError(f"{name}: dtype {value.dtype}, expected numbers")
        if value.shape != entry.shape:
            raise ValueError(f"{name}: shape {value.shape}, expected {entry.shape}")
        with np.errstate(over="ignore"):
            value = value.astype(self.dtype)
        if not np.isfinite(value).all():
            raise ValueError(f"{name}: holds NaN, infinity or numbers beyond {self.dtype}")
        minimum = self.parameters.nodes[entry.layer].layer.minimum.get(entry.kind)
        if minimum is not None and (value < minimum).any():
            raise ValueError(f"{name}: holds {value.min()}, expected at least {minimum:g}")
        return value

    def copy(self) -> Sequential:
        """An independent model of the same layers, numbers, seed and loss."""
        model = self._blank(self.layers, self.inputs, self.dtype, self.seed, self.loss)
        model.parameters.restore_state(self.parameters.copy_state())
        return model

    @classmethod
    def _blank(cls, layers: Iterable[Any], inputs: int, dtype: DTypeLike, seed: int, loss: Any) -> Sequential:
        """A model whose numbers are still to be filled in: without the draws of the constructor."""
        model = cls.__new__(cls)
        model.layers, model.dtype, model.loss = _layers(layers), _dtype(dtype), loss
        model.inputs = checks.integer("Sequential", "inputs", inputs, minimum=1)
        model.seed = checks.integer("Sequential", "seed", seed, minimum=0)
        model._allocate()
        return model

    def __reduce__(self) -> tuple[Callable[..., Sequential], tuple[Any, ...]]:
        # copy.deepcopy and multiprocessing would otherwise tear the views from their allocation.
        return _rebuild, (self.layers, self.inputs, self.dtype.name, self.seed, self.loss, self.get_weights())

    def save(
        self,
        path: storage.PathLike,
        extra: Any = None,
        preprocessing: Transform | Mapping[str, Transform] | None = None,
    ) -> None:
        """Write the model to a safetensors file, atomically: a kill at any moment leaves the old file or the new one.

        extra           anything JSON can hold, read back by `fastnn.storage.read_extra`
        preprocessing   the fitted transform that makes the model's inputs (its width is checked), or several
                        transforms by name, such as {"inputs": ..., "targets": ...}; `fastnn.load_preprocessing` reads
                        them back, bit for bit. `predict` does not apply them: it takes what they give
        Optimizer moments are not part of it, nor are functions: `load` is given again those of activations of your own.
        Errors: see fastnn.storage.write.
        """
        from fastnn import storage

        packed = None
        if preprocessing is not None:
            from fastnn.preprocessing import pack

            packed = pack(preprocessing, self.inputs)
        storage.write(path, {e.name: e.value for e in self._numbers()}, self.description(), extra, packed)

    def description(self) -> dict[str, Any]:
        """Everything but the numbers, as JSON: layers, inputs, dtype, seed and loss, as model files hold it."""
        from fastnn import storage

        return {
            "layers": [storage.describe(layer) for layer in self.layers],
            "inputs": self.inputs,
            "dtype": self.dtype.name,
            "seed": self.seed,
            "loss": storage.describe(self.loss) if self.loss is not None and self.loss.native else None,
        }

    def summary(self) -> str:
        """A table of the layers, those of blocks under their block: output width and number of trainable parameters."""
        rows = [("", "layer", "outputs", "parameters")]
        for node in self.parameters.nodes:
            own = sum(entry.value.size for entry in self.parameters.entries if entry.layer == node.number)
            # A block's layers have lines of their own.
            name, count = (type(node.layer).__name__, "") if node.parts else (written(node.layer), f"{own:,}")
            rows.append((node.path.removeprefix("layers."), name, f"{node.outputs:,}", count))
        rows.append(("", "total", "", f"{self.count:,}"))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [f"Sequential: {self.inputs:,} inputs, {self.outputs:,} outputs, {self.dtype}, seed {self.seed}"]
        for row in rows:
            lines.append(
                f"  {row[0]:>{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}"
            )
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        layers = ", ".join(written(layer) for layer in self.layers)
        return f"Sequential([{layers}], inputs={self.inputs}, dtype={self.dtype.name!r}, seed={self.seed})"


def load(path: storage.PathLike, activations: Iterable[Activation | Custom] = ()) -> Sequential:
    """Read a model written by `Sequential.save`, or that in a checkpoint (`fastnn.Checkpoint`); running code from the
    file is not possible (no pickle).

    activations   those of your own that the model has, `[Activation(forward=f, backward=df)]`: no file holds functions,
                  but the names of these and what they compute at 41 points from -25 to 25, by which each is put in its
                  place, whatever its name is now. Others may be among them; without the right ones there is an error

    Raises FileNotFoundError, or fastnn.storage.ModelFileError (a ValueError) for an empty, truncated, foreign or
    damaged file, one of a newer version, unknown layers and tensors that do not fit them.
    """
    from fastnn import storage

    own = _own_activations(activations)
    contents = storage.read(path)
    try:
        return _from_contents(contents, own)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        text = f"no {error} in the description of the model" if isinstance(error, KeyError) else str(error)
        text = "layers lie in each other too deeply" if isinstance(error, RecursionError) else text
        raise storage.ModelFileError(f"{path}: {text}") from None


def _own_activations(activations: Any) -> list[Custom]:
    """Those given to `load`."""
    if isinstance(activations, Mapping) or not isinstance(activations, Iterable):
        raise TypeError(f"load(activations={activations!r}): expected a list of Activation(forward=f, backward=df)")
    own: list[Custom] = []
    for given in activations:
        activation = given
        while isinstance(activation, Activation):
            activation = activation.name
        if not isinstance(activation, Custom):
            raise TypeError(f"load: activations holds {given!r}, expected Activation(forward=f, backward=df)")
        own.append(activation)
    return own


def _from_contents(contents: storage.Contents, own: list[Custom]) -> Sequential:
    from fastnn import storage

    description = contents.model
    if not isinstance(description, dict) or not isinstance(description["layers"], list):
        raise storage.ModelFileError("the description of the model is not an object with layers")
    described = storage.with_own_activations(description["layers"], own, "layers")
    layers = [storage.restore(layer, Layer, "layer") for layer in described]
    loss = None if description["loss"] is None else storage.restore(description["loss"], Loss, "loss")
    model = Sequential._blank(layers, description["inputs"], description["dtype"], description["seed"], loss)
    tensors = contents.tensors
    if contents.training is not None:
        tensors = {name: value for name, value in tensors.items() if not name.startswith("training.")}
    storage.fill({entry.name: entry.value for entry in model._numbers()}, tensors)
    return model


def _rebuild(
    layers: tuple[Any, ...], inputs: int, dtype: str, seed: int, loss: Any, weights: list[np.ndarray]
) -> Sequential:
    model = Sequential._blank(layers, inputs, dtype, seed, loss)
    for entry, value in zip(model._numbers(), weights, strict=True):
        entry.value[...] = value
    return model


def _layers(layers: Iterable[Any]) -> tuple[Any, ...]:
    """The layers as a tuple, each an instance of a known class."""
    checked = checked_layers("Sequential", "layers", layers)
    if not checked:
        raise ValueError("Sequential(layers=[]): expected at least one layer")
    return checked


def _inputs(inputs: int | tuple[int, ...], first: Layer) -> int:
    """How many numbers a row of data has."""
    if not isinstance(inputs, (tuple, list)):
        return checks.integer("Sequential", "inputs", inputs, minimum=1)
    if not inputs or not first.flattens:
        raise ValueError(f"Sequential(inputs={inputs!r}): a shape needs an axis, and Flatten() as the first layer")
    return math.prod(checks.integer("Sequential", "inputs", axis, minimum=1) for axis in inputs)


def _dtype(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        name = np.dtype(dtype).name if dtype is not None else None
    except TypeError:
        name = str(dtype)
    if name not in DTYPES:
        raise ValueError(f"Sequential(dtype={dtype!r}): expected one of {', '.join(DTYPES)}")
    return np.dtype(name)


def _activation_after(layer: Layer, following: Iterable[Layer]) -> str | None:
    """The activation that the outputs of a dense layer meet: its own, or that of a layer before the next Dense."""
    own = layer.activation if isinstance(layer, Dense) else None
    names = [own]
    for after in _along(following):
        if isinstance(after, Dense):
            break
        names.append(after.name if isinstance(after, Activation) else None)
    return next((name for name in map(_name_of, names) if name != "identity"), None)


def _name_of(activation: Any) -> str:
    return get_activation(activation).name


def _along(layers: Iterable[Layer]) -> Iterator[Layer]:
    """Layers one after the other; in the place of a block, those of its first branch that has layers."""
    for layer in layers:
        branches = [branch for branch in layer.parts().values() if branch]
        yield from _along(branches[0]) if branches else (layer,)
