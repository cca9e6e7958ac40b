"""What every loss answers."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from .. import checks
from ..kernels.table import OPERATIONS

if TYPE_CHECKING:
    from ..plan.arena import Ref
    from ..plan.compiler import Builder, Gradient, Value

Array = np.ndarray[Any, Any]


class Loss:
    """What every loss answers. Its operation of the kernel table gives value and gradient in one pass."""

    name: ClassVar[str]
    task: ClassVar[Literal["classify", "binary", "regress"]]
    default_metrics: ClassVar[tuple[str, ...]]

    def check_targets(self, y: Any, outputs: int, dtype: Any, name: str = "y", allow_nonfinite: bool = False) -> Array:
        """y in the form that the kernels take; an error that says what fits this loss otherwise."""
        return checks.targets(y, outputs, dtype, name, allow_nonfinite)

    def terms(self, rows: Any, outputs: int) -> Any:
        """How many terms the mean over that many rows has."""
        return rows * outputs

    def value(self, outputs: Any, y: Any) -> float:
        """The loss of outputs (rows, outputs) against targets, computed by the reference in float64."""
        z = np.asarray(outputs, np.float64)
        targets = self.check_targets(y, z.shape[1], np.float64)
        checks.same_rows(z, targets, ("outputs", "y"))
        dz, loss = np.empty_like(z.T), np.empty(1)
        scale = 1.0 / self.terms(len(z), z.shape[1])
        OPERATIONS[self.name].reference(dz, loss, z.T, self._for_kernel(targets), scale)
        return float(loss[0])

    def gather(self, builder: "Builder", outputs: int) -> "Ref":
        """Writes the operations that fetch the targets of a batch."""
        from ..plan.arena import Ref
        from ..plan.plan import Given

        layout, dtype = builder.plan.batch, builder.plan.dtype
        by_rows = Ref("batch", layout.matrix("t by rows", builder.rows, outputs, dtype))
        targets = Ref("batch", layout.matrix("t", outputs, builder.rows, dtype))
        builder.call("gather_rows", "tT = y[order]", x=by_rows, X=Given("y"), order=Given("order"))
        builder.call("rows_to_features", "t = transpose(tT)", out=targets, x=by_rows)
        return targets

    def differentiate(self, builder: "Builder", z: "Value", targets: "Ref") -> "Gradient":
        """Writes the operation that makes the loss and its gradient with respect to the outputs."""
        from ..plan.compiler import Gradient
        from ..plan.plan import Given

        dz = builder.gradient_of(z)
        arguments = {"labels" if self.task == "classify" else "targets": targets}
        builder.call(
            self.name, f"loss, d{z.name} = {self.name}({z.name}, {targets.slot.name})",
            dz=dz, loss=Given("loss"), z=z.data, scale=Given("scale"), **arguments,
        )  # fmt: skip
        return Gradient(f"d{z.name}", dz)

    def _for_kernel(self, targets: Array) -> Array:
        return targets.T
