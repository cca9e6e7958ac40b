"""Layers, losses, optimizers and initializers are values: equal by their fields, hashable, written as they are made."""

import copy
import pickle
from typing import Any

import pytest

import fastnn as fnn
from fastnn import initializers

ITEMS = [
    fnn.Dense(3, "relu", weight_init=initializers.he_normal), fnn.Activation("tanh"), fnn.BatchNorm(0.2),
    fnn.LayerNorm(shift=False), fnn.RMSNorm(1e-6),
    fnn.Residual([fnn.Dense(3), fnn.Residual([fnn.BatchNorm()])], shortcut=[fnn.Dense(3)]),
    fnn.Flatten(), fnn.Standardize([1, 2.5], [0.1, 3]), fnn.Embedding({3: (5, 2), 0: (4, 7)}),
    fnn.Concatenate([[], [fnn.Dense(2)]]), fnn.Dropout(0.5),
    fnn.CrossEntropy(), fnn.MSE(), fnn.BCE(), fnn.SGD(0.1, 0.9), fnn.AdaGrad(), fnn.RMSProp(),
    fnn.Adam(betas=(0.8, 0.9)), fnn.Huber(0.5), fnn.Quantile(0.9), fnn.CrossEntropy(0.1), fnn.Focal(1.0),
    fnn.MultiClassHinge(2.0, 2), fnn.GaussianLikelihood(1e-3), fnn.Dense(3, l1=0.1, l2=0.2),
    fnn.Embedding({0: (2, 2)}, l1=0.1), fnn.BatchNorm(l2=0.5), fnn.LayerNorm(l1=1), fnn.RMSNorm(l2=2.0),
    *initializers.INITIALIZERS.values(),
]  # fmt: skip
NAMES = {**vars(fnn), **vars(initializers), **{name: getattr(fnn, name) for name in fnn.__all__}}
NAMES["Constant"] = initializers.Constant


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: type(item).__name__)
def test_a_description_is_a_value(item: Any) -> None:
    for twin in (copy.deepcopy(item), pickle.loads(pickle.dumps(item)), eval(repr(item), NAMES)):
        assert twin == item
        assert hash(twin) == hash(item)
    assert item != object()
    with pytest.raises(AttributeError, match="cannot assign"):
        item.anything = 1


def test_descriptions_of_other_fields_or_classes_differ() -> None:
    assert fnn.Dropout(0.5) != fnn.Dropout(0.4)
    assert fnn.MSE() != fnn.BCE()
    assert len({*ITEMS}) == len(ITEMS)
