"""Several transforms, one after the other."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from fastnn import checks

from .base import Array, Json, Transform, transform_class


class Chain(Transform):
    """Applies transforms in their order; each is fitted on what those before it give.

        prepared = Chain([Standardizer(), Whitener("zca", epsilon=0.01)]).fit(X_train)

    transforms    at least one; they are fitted by `fit`. A chain among them counts as the transforms in it

    `inverse` undoes the last one first. Float32 rows are rounded after each transform. `chain[0]`, `len(chain)` and
    `for transform in chain` give the transforms.
    """

    def __init__(self, transforms: Iterable[Transform]) -> None:
        if isinstance(transforms, (Transform, str)) or not isinstance(transforms, Iterable):
            raise TypeError(f"Chain(transforms={transforms!r}): expected a list of transforms such as Standardizer()")
        given = tuple(transforms)
        self.transforms: tuple[Transform, ...] = ()
        for number, transform in enumerate(given):
            checks.not_a_class(f"Chain: transforms[{number}]", transform, Transform)
            if not isinstance(transform, Transform):
                raise TypeError(f"Chain: transforms[{number}] is {transform!r}, expected one such as Standardizer()")
            self.transforms += transform.transforms if isinstance(transform, Chain) else (transform,)
        if not self.transforms:
            raise ValueError("Chain(transforms=[]): expected at least one transform")
        if len({id(transform) for transform in self.transforms}) < len(self.transforms):
            raise ValueError("Chain(transforms): the same object stands twice in it and can be fitted only once")

    def __repr__(self) -> str:
        return f"Chain([{', '.join(map(repr, self.transforms))}])"

    def __len__(self) -> int:
        return len(self.transforms)

    def __getitem__(self, place: int) -> Transform:
        return self.transforms[place]

    def __iter__(self) -> Iterator[Transform]:
        return iter(self.transforms)

    @property
    def fitted(self) -> bool:
        return all(transform.fitted for transform in self.transforms)

    @property
    def columns(self) -> int:
        return self.transforms[0].columns

    @property
    def width(self) -> int:
        return self.transforms[-1].width

    def fit(self, X: Any) -> Self:
        """Fits each transform on the rows of X as those before it give them. Returns itself."""
        fitted = copy.deepcopy(self.transforms)  # where one of them refuses its rows, none is changed
        for transform in fitted[:-1]:
            X = transform.fit(X).transform(X)
        fitted[-1].fit(X)
        for transform, other in zip(self.transforms, fitted, strict=True):
            vars(transform).update(vars(other))
        return self

    def transform(self, X: Any) -> Array:
        for transform in self.transforms:
            X = transform.transform(X)
        result: Array = X
        return result

    def inverse(self, X: Any) -> Array:
        for transform in reversed(self.transforms):
            X = transform.inverse(X)
        result: Array = X
        return result

    def arrays(self) -> dict[str, Array]:
        """The arrays of all: "0.mean", "1.directions" ...; ValueError before `fit`."""
        return {f"{n}.{name}": array for n, each in enumerate(self) for name, array in each.arrays().items()}

    def settings(self) -> Json:
        """The types and settings of the transforms."""
        return {"transforms": [{"type": type(each).__name__, **each.settings()} for each in self]}

    def to_json(self) -> Json:
        """Type, and the transforms as JSON."""
        return {"type": "Chain", "transforms": [each.to_json() for each in self]}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """The chain that `to_json` described."""
        if state.get("type", "Chain") != "Chain":
            raise ValueError(f"Chain.from_json: the state is that of a {state['type']!r}")
        return cls([transform_class(each["type"]).from_json(each) for each in state["transforms"]])

    @classmethod
    def restored(cls, settings: Mapping[str, Any], arrays: Mapping[str, Any]) -> Self:
        """A fitted chain of what `settings` and `arrays` gave."""
        transforms = []
        for number, each in enumerate(settings["transforms"]):
            prefix = f"{number}."
            own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            transforms.append(transform_class(each["type"]).restored(each, own))
        return cls(transforms)
