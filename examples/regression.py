"""A regression in the target's own unit: standardise the columns and the target on the training rows, and go back."""

from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.model_selection import train_test_split

import fastnn as fnn

X, y = load_diabetes(return_X_y=True, scaled=False)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=0)

columns = fnn.Standardizer().fit(X_train)
progression = fnn.Standardizer().fit(y_train)

model = fnn.Sequential([fnn.Dense(32, activation="tanh"), fnn.Dense(1)], inputs=10, dtype="float64", seed=0)
model.fit(
    columns.transform(X_train),
    progression.transform(y_train),
    loss="mse",
    optimizer=fnn.SGD(lr=0.01, momentum=0.9),
    epochs=40,
    batch_size=32,
    validation_split=0.2,
    callbacks=[fnn.EarlyStopping(patience=5)],
)
predicted = progression.inverse(model.predict(columns.transform(X_test))[:, 0])
print(f"RMSE {root_mean_squared_error(y_test, predicted):.1f}, R2 {r2_score(y_test, predicted):.2f}")
