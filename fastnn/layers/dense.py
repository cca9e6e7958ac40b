"""Dense layers: their three products, and how their weights lie in memory.

I inputs     O outputs     K = I + 1 with a bias, I without
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from ..activations import ActivationFunction, Derivative, get_activation
from ..described import description
from ..kernels.reference.dense import NOTHING
from ..kernels.table import OPERATIONS
from ..plan.arena import Layout, Ref, padded
from ..plan.compiler import Builder, Gradient, Value
from ..plan.plan import Given
from .activation import Activation, activate, differentiate, keeps_slope
from .base import _Penalized

if TYPE_CHECKING:
    from ..initializers import Initializer

Array = np.ndarray[Any, Any]


_TERMS_IN_PLACE = 1000  # beyond, kernels cut the sums of a product into blocks, unless they work in place


@description
class Dense(_Penalized):
    """activation(x W + b) with W of shape (fan_in, fan_out) and b of shape (fan_out,).

    units         fan_out, at least 1
    activation    a name such as "relu", "tanh" or "gelu" (`fastnn.activations.ACTIVATIONS` has all of them), an
                  instance such as LeakyReLU(0.2), a function of your own, see `Activation`, or None
    bias          False leaves b out
    weight_init   name or initializer; None chooses by the activation, see `fastnn.initializers.default_initializer`
    bias_init     the same for b
    l1, l2        penalties on W, by name, 0 or more: l1 sum |W| + l2 sum W^2 is added to the loss of each training step
                  (Keras's kernel_regularizer). PyTorch's weight_decay of SGD is 2 l2, and takes the biases too
    """

    units: int
    activation: str | ActivationFunction | None = None
    bias: bool = True
    weight_init: "str | Initializer | None" = None
    bias_init: "str | Initializer" = "zeros"

    def __post_init__(self) -> None:
        from ..initializers import get_initializer

        object.__setattr__(self, "units", checks.integer("Dense", "units", self.units, minimum=1))
        object.__setattr__(self, "bias", checks.flag("Dense", "bias", self.bias))
        if isinstance(self.activation, Activation):
            object.__setattr__(self, "activation", self.activation.name)
        get_activation(self.activation)
        if self.weight_init is not None:
            get_initializer(self.weight_init)
        get_initializer(self.bias_init)
        super().__post_init__()

    def outputs(self, inputs: int) -> int:
        return self.units

    def parameters(self, layout: Layout, index: int, inputs: int, dtype: np.dtype[Any]) -> dict[str, Ref]:
        terms, units = inputs + self.bias, self.units
        by_outputs = _store_by_outputs(units, terms, dtype, by_rows=index == 0)
        shape = (units, terms) if by_outputs else (terms, units)
        slot = layout.matrix(f"W{index}", *shape, dtype, spare_rows=False)
        return {"weight": Ref("parameters", slot, transposed=not by_outputs)}

    def entries(self, arrays: dict[str, Array]) -> dict[str, Array]:
        weight = arrays["weight"].T  # (K, O): the bias is its last row
        return {"weight": weight[:-1], "bias": weight[-1]} if self.bias else {"weight": weight}

    def forward(self, builder: Builder, x: Value) -> Value:
        activation = get_activation(self.activation)
        y = builder.value(f"h{builder.layer}", self.units)
        if activation.floor is not None:
            self._forward_product(builder, x, y.data, y.name, activation.floor)
            y.derivative, y.needed = activation.derivative, True
        elif keeps_slope(builder, activation):
            z, name = builder.matrix_like(f"z{builder.layer}", y), f"z{builder.layer}"
            self._forward_product(builder, x, z, name)
            activate(builder, activation, y, name, z, slope=z)
        else:
            self._forward_product(builder, x, y.data, y.name)
            activate(builder, activation, y, y.name, y.data, slope=None)
        builder.kept[builder.layer] = {"x": x, "y": y}
        return y

    def _forward_product(self, builder: Builder, x: Value, y: Ref, name: str, floor: float = -np.inf) -> None:
        """y = max(W x, floor); `name`: that of y."""
        product = f"W{builder.layer} {x.name}"
        formula = f"{name} = {product if floor == -np.inf else f'max({product}, {floor:g})'}"
        builder.call(
            self._product(builder, "forward", x), formula,
            y=y, x=x.with_ones if self.bias else x.data, weight=builder.parameter("weight"), floor=floor,
        )  # fmt: skip

    def backward(self, builder: Builder, dy: Gradient) -> Gradient | None:
        x, y = builder.kept[builder.layer]["x"], builder.kept[builder.layer]["y"]
        dy = differentiate(builder, get_activation(self.activation), dy, y)
        self._weight_gradient(builder, dy, x)
        if not builder.input_gradient_needed:
            return None
        form, operation = x.derivative, self._product(builder, "backward_input", x)
        # A fused derivative may read each number of x just before the gradient replaces it; long sums come in blocks.
        in_place = form and OPERATIONS[operation].in_place and self.units <= _TERMS_IN_PLACE
        dx = x.data if in_place else builder.gradient_of(x)
        derivative = form or Derivative(NOTHING)
        builder.call(
            operation,
            f"d{x.name} = W{builder.layer}^T {dy.name}{f' * act_prime({x.name})' if form else ''}",
            dx=dx, dy=dy.data, weight=builder.parameter("weight").first(x.features),
            x=(x.slope or x.data) if form else None,
            derivative=derivative.kind, c0=derivative.c0, c1=derivative.c1, c2=derivative.c2,
        )  # fmt: skip
        return Gradient(f"d{x.name}", dx, through_activation=form is not None)

    def _product(self, builder: Builder, name: str, x: Value) -> str:
        """The operation of one of the three products."""
        return f"dense_{name}_bf16" if builder.rounds(self.units, x.features) else f"dense_{name}"

    def _weight_gradient(self, builder: Builder, dy: Gradient, x: Value) -> None:
        """dW = dy x^T. The kernel wants the operand that runs along dW's contiguous axis row-major, unless it makes dW
        of dot products or packs its operands."""
        operation = self._product(builder, "backward_weight", x)
        packs = operation == "dense_backward_weight_bf16"
        dweight = builder.gradient("weight")
        terms = x.with_ones if self.bias else x.data
        left, right = dy.data, terms
        if x.by_rows is not None and not dweight.transposed:
            right = Ref(x.arena, x.by_rows, columns=x.features + self.bias).T
        elif not packs and not _as_dots(dweight.slot.shape[0], builder.usual):
            if dweight.transposed:
                left = builder.transposed(dy.name, dy.data).T
            else:
                right = builder.transposed(x.name, terms).T
        builder.call(
            operation, f"dW{builder.layer} = {dy.name} {x.name}^T",
            dweight=dweight, dy=left, x=right, accumulate=Given("accumulate"),
        )  # fmt: skip


def _store_by_outputs(units: int, terms: int, dtype: np.dtype[Any], by_rows: bool) -> bool:
    """Whether weights are stored [out][in] rather than [in][out].

    In wide layers [out][in] keeps the scalars of the forward product contiguous (1024 wide: 69-79% of peak -> 91-97%;
    up to 512 it makes no difference). In others the cheaper weight gradient decides, counted in multiplications per row
    of the batch: its product, padded to whole vectors, and the transposition of one operand, which for the input is
    free if it is there `by_rows`.
    A product one vector wide needs a broadcast for each multiplication and runs at little more than half speed.
    """

    def product(rows: int, columns: int) -> float:
        vectors = padded(columns, dtype)
        return rows * vectors * (1.8 if vectors == padded(1, dtype) else 1.0)

    if min(units, terms) >= 100 and max(units, terms) > 600:
        return True
    transposition = 8.0  # of one number
    by_outputs = product(units, terms) + (0.0 if by_rows else transposition * terms)
    return by_outputs <= product(terms, units) + transposition * units


def _as_dots(rows: int, batch: int) -> bool:
    """Whether a weight gradient of so many rows in memory is made of dot products over the batch rather than by a
    product with an operand that has to be transposed.

    In cycles for a vector of its columns: dot products cost 0.03 more for each row and number of the batch, and 25 for
    each row to add up the lanes; a transposition costs 4.3 for each number of the batch.
    """
    return rows * (0.03 * batch + 25.0) < 4.3 * batch
