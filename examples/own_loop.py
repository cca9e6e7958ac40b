"""The parts below `fit`: a trainer driven by row numbers, and a loss of one's own between forward and backward."""

import numpy as np

import fastnn as fnn

generator = np.random.default_rng(0)
X = generator.normal(size=(2000, 2)).astype(np.float32)
y = (X[:, 0] * X[:, 1] > 0).astype(np.int32)


def network() -> fnn.Sequential:
    return fnn.Sequential([fnn.Dense(32, activation="relu"), fnn.Dense(32, activation="relu"), fnn.Dense(2)], inputs=2)


# One call runs 40 epochs of mini-batches without Python in between; the order is yours.
model = network()
trainer = fnn.Trainer(model, loss="cross_entropy", optimizer=fnn.Adam(lr=5e-3), batch_size=50)
order = np.concatenate([generator.permutation(len(X)) for _ in range(40)]).reshape(-1, 50)
losses = trainer.run(X, y, order)
print(f"loss of the first step {losses[0]:.3f}, mean of the last 40 {losses[-40:].mean():.3f}")
print(trainer.plan)

# A loss of one's own: the hinge. fastnn computes the outputs and, from d loss / d outputs, the rest.
model = network()
trainer = fnn.Trainer(model, optimizer=fnn.Adam(lr=5e-3), batch_size=50)
sides = np.eye(2, dtype=np.float32)[y] * 2 - 1
for rows in order:
    outputs = trainer.forward(X[rows])
    slack = 1 - sides[rows] * outputs
    trainer.backward(np.where(slack > 0, -sides[rows], 0) / len(rows))
    trainer.step()
print(f"accuracy with the hinge loss {(model.predict(X).argmax(axis=1) == y).mean():.3f}")
