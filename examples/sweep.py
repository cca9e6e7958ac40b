"""A sweep on scikit-learn's handwritten digits: rates, widths and dropout by chance, three seeds each, with pruning."""

from typing import Any

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastnn as fnn

X, y = load_digits(return_X_y=True)
X_rest, X_test, y_rest, y_test = train_test_split(X / 16, y, test_size=0.2, stratify=y, random_state=0)
X_train, X_valid, y_train, y_valid = train_test_split(X_rest, y_rest, stratify=y_rest, random_state=0)


def build(config: dict[str, Any]) -> tuple[fnn.Sequential, dict[str, Any]]:
    layers = [
        fnn.Dense(config["width"], activation=config["activation"]),
        fnn.Dropout(config["dropout"]),
        fnn.Dense(10),
    ]
    model = fnn.Sequential(layers, inputs=64, seed=config["seed"])
    return model, {"loss": "cross_entropy", "optimizer": fnn.Adam(config["lr"]), "epochs": 27, "batch_size": 64}


space = fnn.Space(
    lr=fnn.log_uniform(1e-4, 1e-1),
    width=fnn.integers(16, 256, log=True),
    activation=["relu", "tanh"],
    dropout=fnn.uniform(0, 0.5),
    seed=range(3),
)
result = fnn.sweep(
    build,
    space,
    X_train,
    y_train,
    validation_data=(X_valid, y_valid),
    metric="val_accuracy",
    search="random",
    trials=60,
    prune="median",
)
print(result)
print(result.table(5))

# The best configuration, trained once more on all but the test rows.
model, arguments = build({**result.best.config, "seed": 0})
model.fit(X_rest, y_rest, **arguments)
print(f"accuracy of the best {model.evaluate(X_test, y_test, metrics=('accuracy',))['accuracy']:.3f}")
