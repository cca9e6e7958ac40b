"""From layers to operations. Each layer, loss and optimizer says itself which operations it is made of; `Builder` is
the pen.

Values are feature-major, (features, rows), each with a row of ones behind its features for the bias of a following
layer. The gradient with respect to a value takes the value's own place, once no operation needs the value any more. A
value that several branches of a block read keeps its place, and so does a gradient that they read.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .arena import Layout, Parameters, Ref, Slot, padded
from .nodes import Node, all_layers, depth_first, numbered
from .plan import Given, Operand, Plan

if TYPE_CHECKING:
    from ..activations import Derivative
    from ..kernels.table import Operation
    from ..layers import Layer
    from ..losses import Loss
    from ..optimizers import Optimizer

_TILE_ROWS = 512  # at most, of a full batch
# Of a product, where operands in bfloat16 are worth packing: outputs, inputs and rows each.
_LEAST_OF_BF16 = 32


@dataclass
class Value:
    """What a layer puts out, or the inputs.

    derivative   if an activation made it: how its derivative follows from it, or from `slope`, for the next product to
                 fuse
    slope        the derivative itself, where it does not follow from the value
    needed       its maker needs it again to differentiate: nothing may be written in its place before
    by_rows      the same numbers row-major, (rows, features + 1), if the plan has them
    """

    name: str
    slot: Slot
    features: int
    derivative: "Derivative | None" = None
    slope: Ref | None = None
    needed: bool = False
    by_rows: Slot | None = None
    arena: str = "workspace"

    @property
    def data(self) -> Ref:
        """(features, rows)"""
        return Ref(self.arena, self.slot, rows=self.features)

    @property
    def with_ones(self) -> Ref:
        """(features + 1, rows)"""
        return Ref(self.arena, self.slot, rows=self.features + 1)


class Gradient(NamedTuple):
    """The gradient with respect to a value.

    through_activation   the derivative of the activation that made the value is in it
    shared               others read it after: nothing may be written in its place
    """

    name: str
    data: Ref
    through_activation: bool = False
    shared: bool = False


class Builder:
    """Collects the operations of one plan.

    rows   the most that a pass has
    usual  the rows of a usual pass: what is cheaper for so many is chosen, so that plans of different capacity for the
           same training choose alike, and compute the same bits
    """

    def __init__(
        self, title: str, parameters: Parameters, rows: int, training: bool, low_precision: bool = False, usual: int = 0
    ) -> None:
        self.plan = Plan(title, parameters.dtype, rows)
        self.parameters, self.rows, self.training = parameters, rows, training
        self.usual = usual or rows
        self.low_precision = low_precision
        self.layer = 0  # the number of the layer that is writing
        self.node: Node | None = None
        self.input_gradient_needed = False
        """Whether a layer before the one that is writing has parameters."""
        self.kept: list[dict[str, Any]] = [{} for _ in parameters.refs]  # what a layer's backward needs of its forward

    def call(self, operation: "str | Operation", formula: str, **arguments: Operand) -> None:
        self.plan.add(operation, formula, arguments)

    def rounds(self, outputs: int, inputs: int) -> bool:
        """Whether the products of a dense layer of that size round their operands to bfloat16. Those of narrow layers
        stay in the plan's dtype: packing would cost what they gain."""
        return self.low_precision and min(outputs, inputs, self.usual) >= _LEAST_OF_BF16

    # Layers one after the other, those of the model or of a branch of a block.

    def run(self, nodes: Sequence[Node], x: Value) -> Value:
        """Their output, the operations of which they write."""
        writing = self.node
        for node in nodes:
            self._turn_to(node)
            x = node.layer.forward(self, x)
        self._turn_to(writing)
        return x

    def run_back(self, nodes: Sequence[Node], dy: Gradient) -> Gradient | None:
        """The gradient with respect to their input; None if nobody needs it."""
        writing, needed = self.node, self.input_gradient_needed
        gradient: Gradient | None = dy
        for place in range(len(nodes) - 1, -1, -1):
            self._turn_to(nodes[place])
            self.input_gradient_needed = needed or self.have_parameters(nodes[:place])
            if gradient is not None:
                gradient = nodes[place].layer.backward(self, gradient)
        self._turn_to(writing)
        self.input_gradient_needed = needed
        return gradient

    def _turn_to(self, node: Node | None) -> None:
        self.node = node
        self.layer = self.layer if node is None else node.number

    def have_parameters(self, nodes: Sequence[Node]) -> bool:
        """Whether any of these layers, or a layer in them, has parameters."""
        return any(any(self.parameters.refs[node.number : node.end]) for node in nodes)

    def branch(self, name: str) -> tuple[Node, ...]:
        """The layers of a branch of the block that is writing."""
        assert self.node is not None
        return self.node.parts[name]

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        first = len(self.plan.calls)
        yield
        self.plan.sections[name] = (first, len(self.plan.calls))

    def value(self, name: str, features: int) -> Value:
        """Room for a layer's output and its row of ones."""
        layout = self.plan.workspace
        slot = layout.matrix(name, features + 1, self.rows, self.plan.dtype)
        layout.row(slot, features, self.rows, 1.0)
        return Value(name, slot, features)

    def value_like(self, x: Value) -> Value:
        """Room for an output as wide as x: x's own, unless its maker still needs x."""
        if x.needed:
            return self.value(f"h{self.layer}", x.features)
        return Value(x.name, x.slot, x.features, arena=x.arena)

    def matrix_like(self, name: str, x: Value) -> Ref:
        """Room for as many numbers as x has, within a pass, without a row of ones."""
        return Ref("workspace", self.plan.workspace.matrix(name, x.features, self.rows, self.plan.dtype))

    def vector(self, name: str, length: int) -> Ref:
        """Room for one number per feature that lives within a pass."""
        return Ref("workspace", self.plan.workspace.vector(name, length, self.plan.dtype))

    def constant(self, name: str, length: int, fill: float) -> Ref:
        """The same number for each feature, or for each row."""
        return Ref("workspace", self.plan.workspace.constant(name, length, self.plan.dtype, fill))

    def gradient_of(self, x: Value) -> Ref:
        """A place for the gradient with respect to x: x's own, unless its maker still needs x."""
        if not x.needed:
            return x.data
        return self.matrix_like(f"d{x.name}", x)

    def read_by_several(self, x: Value) -> Value:
        """x for each of several readers. None may write in its place, nor apply the derivative of what made it to its
        part of the gradient: that is for the maker, once the parts are added up."""
        return replace(x, needed=True, derivative=None, slope=None)

    def place_of(self, dy: Gradient) -> Ref:
        """A place for what a layer makes of dy in passing: dy's own, unless others read it."""
        return self.like(dy.data, dy.name) if dy.shared else dy.data

    def like(self, ref: Ref, name: str) -> Ref:
        """Room for a gradient as wide as another."""
        return Ref("workspace", self.plan.workspace.matrix(name, ref.height, self.rows, self.plan.dtype))

    def total(self, name: str, gradients: Sequence[Gradient]) -> Gradient:
        """The sum of gradients, in the place of one that nobody reads after."""
        total, *others = sorted(gradients, key=lambda gradient: gradient.shared)
        for other in others:
            out = self.place_of(total)
            self.call("add", f"{name} = {total.name} + {other.name}", out=out, a=total.data, b=other.data)
            total = Gradient(name, out)
        return total

    def parameter(self, kind: str) -> Ref:
        return self.parameters.refs[self.layer][kind]

    def gradient(self, kind: str) -> Ref:
        return self.parameters.refs[self.layer][kind].within("gradients")

    def penalize(self, l1: float, l2: float) -> None:
        """Writes the operations that add l1 sum |w| + l2 sum w**2 over each array of the layer, but for bias and beta,
        to the loss, and its gradient to that of the array: once a step, after the gradients of its parts were added
        up."""
        for entry, weight in zip(self.parameters.entries, self.parameters.matrices(), strict=True):
            if entry.layer == self.layer and entry.kind not in ("bias", "beta"):
                name = self.parameter(entry.kind).slot.name
                self.call(
                    "penalty", f"loss, d{name} += penalty({name})",
                    dweight=weight.within("gradients"), loss=Given("loss"), weight=weight, l1=l1, l2=l2,
                )  # fmt: skip

    def buffer(self, kind: str) -> Ref:
        return self.parameters.state_refs[self.layer][kind]

    def flat(self, arena: str) -> Ref:
        """All numbers of an arena with the layout of the parameters."""
        dtype = self.plan.dtype
        length = len(self.parameters.arena) // dtype.itemsize
        return Ref(arena, Slot("all", (length,), dtype, 0, (dtype.itemsize,)))

    def transposed(self, name: str, ref: Ref) -> Ref:
        """A row-major copy of a feature-major operand, in scratch memory that the next copy overwrites."""
        layout = Layout()
        slot = layout.matrix(f"{name}T", self.rows, ref.height, self.plan.dtype)
        self.plan.scratch.bytes = max(self.plan.scratch.bytes, layout.bytes)
        copy = Ref("scratch", slot)
        self.call("features_to_rows", f"{name}T = transpose({name})", out=copy, x=ref)
        return copy


def _gather_inputs(builder: Builder) -> Value:
    """The rows of the batch, both ways: row-major for the first layer's weight gradient, feature-major for everything
    else."""
    features, dtype = builder.parameters.inputs, builder.plan.dtype
    layout = builder.plan.batch
    slot = layout.matrix("x", features + 1, builder.rows, dtype)
    layout.row(slot, features, builder.rows, 1.0)
    by_rows = layout.matrix("x by rows", builder.rows, features + 1, dtype)
    layout.column(by_rows, features, builder.rows, 1.0)
    x = Value("x", slot, features, needed=True, by_rows=by_rows, arena="batch")
    rows = Ref("batch", by_rows, columns=features)
    builder.call("gather_rows", "xT = X[order]", x=rows, X=Given("X"), order=Given("order"))
    builder.call("rows_to_features", "x = transpose(xT)", out=x.data, x=rows)
    return x


def _gather_weights(builder: Builder) -> Ref:
    """The weights of the rows of the batch."""
    weights = Ref("batch", builder.plan.batch.vector("w", builder.rows, builder.plan.dtype))
    builder.call("gather_weights", "w = weights[order]", weights=weights, w=Given("w"), order=Given("order"))
    return weights


def compile_training(
    layers: Sequence["Layer"], parameters: Parameters, loss: "Loss | None", optimizer: "Optimizer | None", rows: int,
    in_parts: bool = False, low_precision: bool = False, usual: int = 0, weighted: bool = False,
) -> Plan:  # fmt: skip
    """The plan of one training step on up to `rows` rows.

    in_parts        backward writes parts of the gradients, of several passes over a full batch, and "reduce" adds them
                    up
    low_precision   products of layers wide enough round their operands to bfloat16
    usual           the rows of a usual pass, for which the cheaper forms are chosen; 0: `rows`
    weighted        each row has a weight in the loss

    Without a loss the outputs can be taken out ("output") and the gradient with respect to them is given ("loss");
    without an optimizer there is no update.
    """
    builder = Builder("one training step", parameters, rows, training=True, low_precision=low_precision, usual=usual)
    with builder.section("gather"):
        x = _gather_inputs(builder)
        targets = loss.gather(builder, parameters.outputs) if loss is not None else None
        weights = _gather_weights(builder) if weighted else None
    nodes = numbered(layers, parameters.inputs)
    with builder.section("forward"):
        z = builder.run(nodes, x)
    with builder.section("loss"):
        if loss is not None and targets is not None:
            gradient = loss.differentiate(builder, z, targets, weights)
        else:
            gradient = Gradient(f"d{z.name}", builder.gradient_of(z))
            text = f"{gradient.name} = transpose(doutputs)"
            builder.call("rows_to_features", text, out=gradient.data, x=Given("doutputs"))
    with builder.section("backward"):
        builder.run_back(nodes, gradient)
    with builder.section("reduce"):
        if in_parts:
            total = builder.flat("gradients")
            builder.call("add_parts", "dW = sum of its parts", total=total, parts=Given("parts"))
    with builder.section("penalty"):
        for node in depth_first(nodes):
            builder._turn_to(node)
            node.layer.penalize(builder)
    with builder.section("update"):
        if optimizer is not None:
            optimizer.update(builder)
    with builder.section("output"):
        if loss is None:
            _put_out(builder, z)
    return builder.plan


def compile_inference(layers: Sequence["Layer"], parameters: Parameters, rows: int) -> Plan:
    """The plan of one forward pass with running statistics and without dropout."""
    builder = Builder("inference", parameters, rows, training=False)
    with builder.section("gather"):
        x = _gather_inputs(builder)
    with builder.section("forward"):
        z = builder.run(numbered(layers, parameters.inputs), x)
    with builder.section("output"):
        _put_out(builder, z)
    return builder.plan


def _put_out(builder: Builder, z: Value) -> None:
    builder.call("features_to_rows", f"outputs = transpose({z.name})", out=Given("outputs"), x=z.data)


def tile_rows(rows: int, layers: Sequence["Layer"], dtype: np.dtype[Any]) -> int:
    """How many rows of a large batch go through all layers at once, so that they stay in cache between them.

    A layer that mixes rows (batch normalisation) needs all of them.
    """
    if any(layer.mixes_rows for layer in all_layers(layers)):
        return rows
    parts = -(-rows // _TILE_ROWS)
    return min(rows, padded(-(-rows // parts), dtype))
