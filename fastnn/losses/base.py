"""What every loss answers."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from .. import checks
from ..kernels.table import OPERATIONS

if TYPE_CHECKING:
    from ..plan.arena import Ref
    from ..plan.compiler import Builder, Gradient, Value

Array = np.ndarray[Any, Any]
Halves = Callable[[Any], tuple[Any, Any]]


class Loss:
    """What every loss answers. Its operation of the kernel table gives value and gradient in one pass.

    The value is a mean, weighted where rows have weights: a sum divided by the sum of the weights.
    """

    name: ClassVar[str]
    task: ClassVar[Literal["classify", "binary", "regress"]]
    default_metrics: ClassVar[tuple[str, ...]]

    native: ClassVar[bool] = True
    """Whether an operation of the kernel table computes it; else a Python function does, between native passes."""

    in_commands: ClassVar[bool] = True
    """Whether the command line offers it: the outputs are logits of classes, or numbers in the target's unit."""

    takes_labels: ClassVar[bool] = False
    """Whether the kernel takes class numbers (rows,) rather than targets (rows, columns)."""

    def target_columns(self, outputs: int) -> int:
        """How many targets a row has in a network with so many outputs; a ValueError where it cannot have so many."""
        return outputs

    def check_targets(self, y: Any, outputs: int, dtype: Any, name: str = "y", allow_nonfinite: bool = False) -> Array:
        """y in the form that the kernels take; an error that says what fits this loss otherwise."""
        return checks.targets(y, self.target_columns(outputs), dtype, name, allow_nonfinite, outputs)

    def form(self, targets: Array) -> "Loss":
        """The loss itself, or what it is on targets of another form than usual, which `check_targets` has passed."""
        return self

    def terms(self, rows: Any, outputs: int) -> Any:
        """How many terms the mean over that many rows, or over rows of that weight, has."""
        return rows * self.target_columns(outputs)

    def scalars(self) -> Mapping[str, float | int]:
        """The operation's own scalars: the fields."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    def operands(self, dz: Any, z: Any, targets: Any, halves: Halves) -> dict[str, Any]:
        """The operation's arrays by name, from the outputs and their gradient, feature-major; `halves` cuts these in
        two."""
        return {"dz": dz, "z": z, "labels" if self.takes_labels else "targets": targets}

    def value(self, outputs: Any, y: Any, weights: Array | None = None) -> float:
        """The loss of outputs (rows, outputs) against targets, computed by the reference in float64.

        weights   (rows,) or None; where their sum is 0 the loss is 0
        """
        z = np.asarray(outputs, np.float64)
        targets = self.check_targets(y, z.shape[1], np.float64)
        checks.same_rows(z, targets, ("outputs", "y"))
        form, loss = self.form(targets), np.empty(1)
        given = None if weights is None else np.asarray(weights, np.float64)
        scale = reciprocal(form.terms(len(z) if given is None else given.sum(), z.shape[1]))
        arrays = form.operands(np.empty_like(z.T), z.T, targets if targets.ndim == 1 else targets.T, _halves)
        OPERATIONS[form.name].reference(
            loss=loss, weights=given, scale=float(scale), weighted=int(given is not None), **arrays, **form.scalars()
        )
        return float(loss[0])

    def scored(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        """Outputs and targets as the metrics of fastnn.metrics understand them."""
        return outputs, targets

    def classes(self, targets: Array, outputs: int) -> tuple[Array, int]:
        """The class of each row, and how many there are: what class weights go by."""
        raise ValueError(f"class_weight: loss={self.name!r} has no classes; give sample_weight, a number for each row")

    def gather(self, builder: "Builder", outputs: int) -> "Ref":
        """Writes the operations that fetch the targets of a batch."""
        from ..plan.arena import Ref
        from ..plan.plan import Given

        layout, dtype = builder.plan.batch, builder.plan.dtype
        if self.takes_labels:
            labels = Ref("batch", layout.vector("labels", builder.rows, np.int32))
            builder.call("gather_labels", "labels = y[order]", labels=labels, y=Given("y"), order=Given("order"))
            return labels
        columns = self.target_columns(outputs)
        by_rows = Ref("batch", layout.matrix("t by rows", builder.rows, columns, dtype))
        targets = Ref("batch", layout.matrix("t", columns, builder.rows, dtype))
        builder.call("gather_rows", "tT = y[order]", x=by_rows, X=Given("y"), order=Given("order"))
        builder.call("rows_to_features", "t = transpose(tT)", out=targets, x=by_rows)
        return targets

    def differentiate(self, builder: "Builder", z: "Value", targets: "Ref", weights: "Ref | None") -> "Gradient":
        """Writes the operation that makes the loss and its gradient with respect to the outputs."""
        from ..plan.compiler import Gradient
        from ..plan.plan import Given

        dz = self.gradient_of(builder, z)
        weighted = "" if weights is None else ", w"
        builder.call(
            self.name, f"loss, d{z.name} = {self.name}({z.name}, {targets.slot.name}{weighted})",
            loss=Given("loss"), scale=Given("scale"), weights=weights, weighted=int(weights is not None),
            **self.operands(dz, z.data, targets, _halves_of_ref), **self.scalars(),
        )  # fmt: skip
        return Gradient(f"d{z.name}", dz)

    def gradient_of(self, builder: "Builder", z: "Value") -> "Ref":
        """A place for the gradient with respect to the outputs: theirs, unless their maker still needs them."""
        return builder.gradient_of(z)


def reciprocal(terms: Any) -> Any:
    """1 / terms, and 0 where there are none: rows whose weights are all zero have loss and gradient zero."""
    terms = np.asarray(terms, np.float64)
    return np.divide(1.0, terms, out=np.zeros_like(terms), where=terms > 0)


def _halves(values: Array) -> tuple[Array, Array]:
    return values[: len(values) // 2], values[len(values) // 2 :]


def _halves_of_ref(ref: "Ref") -> "tuple[Ref, Ref]":
    """The first and the second half of the rows of a matrix in a plan."""
    slot, rows = ref.slot, ref.slot.shape[0] if ref.rows is None else ref.rows
    half = rows // 2
    second = slot._replace(shape=(half, slot.shape[1]), offset=slot.offset + half * slot.strides[0])
    return ref._replace(rows=half), ref._replace(slot=second, rows=None)
