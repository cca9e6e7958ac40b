"""Trainings on real data from a standing start: seconds of first and later calls, validation scores of 3 seeds.

    python -m bench.real_data             MNIST-10k, Adult, California housing, digits (those whose files are here)
    python -m bench.real_data -k digits   only data sets whose name contains the text
    python -m bench.real_data --quick     fastnn and scikit-learn only

Same split, network, batch size, Adam 1e-3, number of epochs and Xavier's uniform weights (scikit-learn knows no others)
for all; everyone trains on the smaller last batch too. Each library runs in a process of its own, on one thread: the
first call is what its user waits for in a new process (compilation, lazy imports; the import of the library itself is a
column of its own), a later call what a sweep pays. fastnn also scores the validation rows after each epoch.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import environment

if __name__ == "__main__" and "--child" not in sys.argv:
    environment.prepare()

import numpy as np

from bench import datasets, output
from bench.networks import LEARNING_RATE, Network, Problem

SEEDS = (0, 1, 2)
LIBRARIES = {"fastnn": "numpy", "sklearn": "sklearn", "torch": "torch", "JAX scan": "jax"}

Train = Callable[[datasets.Data, int], np.ndarray]  # data, seed -> outputs for the validation rows


def problem_of(data: datasets.Data, seed: int) -> Problem:
    """The training rows as a problem of bench.networks, with Xavier's uniform weights."""
    loss = "cross_entropy" if data.classes else "mse"
    network = Network(data.widths, data.batch, rows=len(data.X), loss=loss)
    generator = np.random.default_rng(seed)
    weights = []
    for fan_in, fan_out in pairwise(data.widths):
        limit = math.sqrt(6 / (fan_in + fan_out))
        weights.append(generator.uniform(-limit, limit, (fan_in, fan_out)).astype(np.float32))
        weights.append(np.zeros(fan_out, np.float32))
    return Problem(network, data.X, data.y, weights)


def run_epochs(candidate: Any, data: datasets.Data, seed: int) -> None:
    """Epochs of shuffled batches; the last batch of each is smaller."""
    generator = np.random.default_rng(seed)
    whole = len(data.X) // data.batch * data.batch
    for _ in range(data.epochs):
        order = generator.permutation(len(data.X))
        candidate.run(order[:whole].reshape(-1, data.batch))
        if whole < len(order):
            candidate.run(order[None, whole:])


def load_fastnn() -> Train:
    import fastnn as fnn

    def train(data: datasets.Data, seed: int) -> np.ndarray:
        start: dict[str, Any] = {"weight_init": "xavier_uniform"}
        layers = [fnn.Dense(width, activation="relu", **start) for width in data.hidden]
        layers.append(fnn.Dense(data.widths[-1], **start))
        model = fnn.Sequential(layers, inputs=data.widths[0], seed=seed)
        model.fit(
            data.X,
            data.y,
            loss="cross_entropy" if data.classes else "mse",
            optimizer=fnn.Adam(lr=LEARNING_RATE),
            epochs=data.epochs,
            batch_size=data.batch,
            validation_data=(data.Xv, data.yv),
            progress=False,
        )
        return np.asarray(model.predict(data.Xv))

    return train


def load_sklearn() -> Train:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    def train(data: datasets.Data, seed: int) -> np.ndarray:
        make = MLPClassifier if data.classes else MLPRegressor
        model = make(
            hidden_layer_sizes=data.hidden,
            alpha=0.0,
            batch_size=data.batch,
            learning_rate_init=LEARNING_RATE,
            max_iter=data.epochs,
            n_iter_no_change=data.epochs + 1,
            random_state=seed,
        )
        model.fit(data.X, data.y if data.classes else data.y[:, 0])
        return np.asarray(model.predict_proba(data.Xv) if data.classes else model.predict(data.Xv))

    return train


def load_torch() -> Train:
    from bench.baselines.torch_mlp import TorchMLP

    def train(data: datasets.Data, seed: int) -> np.ndarray:
        candidate = TorchMLP(problem_of(data, seed), fused=False)
        run_epochs(candidate, data, seed)
        return candidate.predict(data.Xv)

    return train


def load_jax() -> Train:
    from bench.baselines.jax_mlp import JaxMLP

    def train(data: datasets.Data, seed: int) -> np.ndarray:
        candidate = JaxMLP(problem_of(data, seed), scan=True)
        candidate.chunk = len(data.X) // data.batch
        run_epochs(candidate, data, seed)
        return candidate.predict(data.Xv)

    return train


LOADERS: dict[str, Callable[[], Train]] = {
    "fastnn": load_fastnn,
    "sklearn": load_sklearn,
    "torch": load_torch,
    "JAX scan": load_jax,
}


def child(library: str, dataset: str) -> None:
    """One process: prints seconds of the import and of each training, and the scores, as JSON."""
    import warnings

    warnings.filterwarnings("ignore", message="Stochastic Optimizer: Maximum iterations")  # the epochs are given
    data = datasets.DATASETS[dataset]()
    started = time.perf_counter()
    train = LOADERS[library]()
    answer: dict[str, Any] = {"import": time.perf_counter() - started, "seconds": [], "scores": []}
    for seed in SEEDS:
        started = time.perf_counter()
        outputs = train(data, seed)
        answer["seconds"].append(time.perf_counter() - started)
        answer["scores"].append(data.score(outputs))
    print("\n" + json.dumps(answer))


def run_child(library: str, dataset: str) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).resolve()), "--child", library, "-k", dataset]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{library} on {dataset} failed:\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fastnn and scikit-learn only")
    parser.add_argument("-k", default="", metavar="TEXT", help="only data sets whose name contains this")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--save", action="store_true", help="write the JSON also for --quick or -k")
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.k)
        return 0

    names = [name for name in datasets.available() if arguments.k.lower() in name]
    if not names:
        parser.error(f"-k {arguments.k!r}: no such data set here: {', '.join(datasets.available())}")
    libraries = [name for name, module in LIBRARIES.items() if importlib.util.find_spec(module)]
    libraries = libraries[:2] if arguments.quick else libraries
    header = environment.header()
    print(environment.describe(header))
    run_child(
        "fastnn", "digits"
    )  # compile what is not in the cache yet: a standing start with a warm cache is measured
    rows, results = [], []
    for dataset in names:
        data = datasets.DATASETS[dataset]()
        label = f"{data.name} {'-'.join(map(str, data.widths))}, {data.epochs} epochs"
        for library in libraries:
            print(f"{data.name}: {library}", file=sys.stderr, flush=True)
            answer = run_child(library, dataset)
            later = statistics.median(answer["seconds"][1:])
            scores = ", ".join(data.score_text(score) for score in answer["scores"])
            mean = data.score_text(statistics.mean(answer["scores"]))
            seconds = [output.number(value) for value in (answer["import"], answer["seconds"][0], later)]
            rows.append([label, library, *seconds, mean, scores])
            results.append({"data": data.name, "library": library, **answer})
            label = ""
    headings = ["data, network", "library", "import s", "first call s", "later s", "mean score", "scores of 3 seeds"]
    print("\n" + output.table(headings, rows))
    if arguments.save or not (arguments.quick or arguments.k):
        print(f"saved {output.save('real_data', header, {'rows': results}).relative_to(environment.ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
