"""The worked examples of CONTRIBUTING.md are true: put into a copy of the package, they run and pass its checks."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

CHECK = """
import numpy as np
import fastnn as fnn
from fastnn import activations, ops
from fastnn.layers.normalization import Scale
from fastnn.optimizers.descent import Signum
import cases

spec = activations.{spec}
activations.ACTIVATIONS[spec.name] = spec

for name in ("signum_update", "hard_sigmoid_forward", "hard_sigmoid_backward", "scale_forward", "scale_backward"):
    for size in (1, 5, 17, 129):
        reference = cases.arguments(name, dict.fromkeys("NFB", size), "float64")
        numba = cases.copied(reference)
        getattr(ops, name)(**reference, backend="reference")
        getattr(ops, name)(**numba, backend="numba")
        for operand, value in reference.items():
            np.testing.assert_allclose(numba[operand], value, rtol=1e-13, atol=1e-13, err_msg=name)

generator = np.random.default_rng(0)
X, y = generator.standard_normal((37, 5)), generator.integers(0, 3, 37)
layers = [fnn.Dense(9, activation="hard_sigmoid"), Scale(), fnn.Dense(3)]
model = fnn.Sequential(layers, inputs=5, dtype="float64")
theta = np.concatenate([value.ravel() for value in model.get_weights()])
trainer = fnn.Trainer(model, "cross_entropy", Signum(lr=1e-2), batch_size=16)
_, grad = trainer.value_and_grad(theta, X, y)
for index in range(len(theta)):
    step = np.zeros(len(theta))
    step[index] = 1e-6
    difference = trainer.value_and_grad(theta + step, X, y)[0] - trainer.value_and_grad(theta - step, X, y)[0]
    assert abs(difference / 2e-6 - grad[index]) < 1e-8, index
trainer.value_and_grad(theta, X, y)
losses = trainer.run(X, y, steps=200)
assert losses[-1] < 0.8 * losses[0], losses
model.save("scaled.safetensors")
assert np.array_equal(fnn.load("scaled.safetensors").predict(X), model.predict(X))
print("the examples work")
"""


def test_worked_examples_run_in_a_copy_of_the_package(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "fastnn", tmp_path / "fastnn", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests" / "cases.py", tmp_path)
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n# (fastnn/\S+\.py)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 9
    spec = ""
    for name, code in blocks:
        if name == "fastnn/activations.py":
            spec = code.strip()
            continue
        path = tmp_path / name
        path.write_text(f"{path.read_text(encoding='utf-8')}\n\n{code}", encoding="utf-8")
    environment = dict(os.environ) | {"FASTNN_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", CHECK.format(spec=spec)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("the examples work\n")
