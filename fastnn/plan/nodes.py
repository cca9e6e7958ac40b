"""Layers as a numbered tree: blocks hold layers, which are numbered in depth-first order, a block before its layers.

The number of a layer decides where its starting values and its dropout masks come from, its path what its arrays are
called in files. In a model without blocks the number is the place in the list.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..layers import Layer


class Node(NamedTuple):
    """A layer in its place.

    number     its own;  end  the number behind its own and those of the layers in it
    path       "layers.3", in a block "layers.3.layers.0"
    inputs     the width of its input;  outputs  of its output
    parts      the layers in it, by the names that it gives to its branches
    before     all that the data go through before they reach it, from the inputs on
    following  what its output goes through: the layers behind it in its branch, then those behind the block
    """

    layer: "Layer"
    number: int
    end: int
    path: str
    inputs: int
    outputs: int
    parts: Mapping[str, tuple["Node", ...]]
    before: tuple["Layer", ...]
    following: tuple["Layer", ...]

    @property
    def place(self) -> int:
        """The index in the model's list of the layer, or of the block that it is in."""
        return place_of(self.path)


def place_of(path: str) -> int:
    """The index in the model's list that a path begins with."""
    return int(path.split(".")[1])


def numbered(
    layers: Sequence["Layer"], inputs: int, path: str = "layers", number: int = 0,
    before: tuple["Layer", ...] = (), following: tuple["Layer", ...] = (),
) -> tuple[Node, ...]:  # fmt: skip
    """The nodes of layers one after the other; ValueError where a layer cannot stand in its place."""
    nodes = []
    for place, layer in enumerate(layers):
        own, after = f"{path}.{place}", (*layers[place + 1 :], *following)
        parts, end = {}, number + 1
        for name, branch in layer.parts().items():
            parts[name] = numbered(branch, inputs, f"{own}.{name}", end, before, after)
            end = parts[name][-1].end if branch else end
        try:
            layer.check_place(inputs, before)
            outputs = layer.outputs(inputs)
        except ValueError as error:
            raise ValueError(f"{own}: {error}") from None
        nodes.append(Node(layer, number, end, own, inputs, outputs, parts, before, after))
        inputs, number, before = outputs, end, (*before, layer)
    return tuple(nodes)


def depth_first(nodes: Sequence[Node]) -> Iterator[Node]:
    """All nodes in the order of their numbers."""
    for node in nodes:
        yield node
        for branch in node.parts.values():
            yield from depth_first(branch)


def all_layers(layers: Sequence["Layer"]) -> Iterator["Layer"]:
    """All layers in the order of their numbers."""
    for layer in layers:
        yield layer
        for branch in layer.parts().values():
            yield from all_layers(branch)
