"""A classifier of scikit-learn's handwritten digits: batch normalisation, dropout, a falling rate, early stopping."""

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastnn as fnn

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.2, stratify=y, random_state=0)

model = fnn.Sequential(
    [
        fnn.Dense(128, activation="relu"),
        fnn.BatchNorm(),
        fnn.Dropout(0.2),
        fnn.Dense(64, activation="relu"),
        fnn.Dense(10),
    ],
    inputs=64,
    seed=0,
)
history = model.fit(
    X_train,
    y_train,
    loss="cross_entropy",
    optimizer=fnn.Adam(lr=2e-3),
    epochs=60,
    batch_size=64,
    validation_data=(X_test, y_test),
    schedule=fnn.StepDecay(factor=0.5, every=15),
    callbacks=[fnn.EarlyStopping(patience=15)],
)
print(model)
print(history)
print(f"accuracy {model.evaluate(X_test, y_test, metrics=('accuracy',))['accuracy']:.3f}")
