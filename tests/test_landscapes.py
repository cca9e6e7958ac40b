"""Paths of optimizers: down a bowl, down a ravine and in a small network, where PyTorch's are."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
from scipy.optimize import minimize

import fastnn as fnn
from fastnn import landscapes, randomness
from fastnn.cli import main
from fastnn.optimizers import OPTIMIZERS, SEARCHES, Optimizer

Array = np.ndarray[Any, Any]
with np.load(Path(__file__).parent / "known_answers" / "trajectories.npz", allow_pickle=False) as file:
    STORED = dict(file)
SEARCHERS = ["ars", "twopoint", "lbfgs"]
WALKERS = [name for name in landscapes.shown("bowl") if name not in SEARCHERS]


def test_every_optimizer_walks() -> None:
    kinds = {type(optimizer) for name in landscapes.LANDSCAPES for optimizer in landscapes.shown(name).values()}
    assert kinds == {*OPTIMIZERS.values(), *SEARCHES.values()}
    assert {key.split(".")[0] for key in STORED if "." in key} == set(WALKERS)


@pytest.mark.parametrize("landscape", landscapes.LANDSCAPES.values(), ids=lambda landscape: landscape.name)
def test_gradients_of_landscapes_are_those_of_their_values(landscape: landscapes.Landscape) -> None:
    points = np.random.default_rng(0).uniform(-2, 2, (50, 2))
    for axis, step in enumerate(np.eye(2) * 1e-6):
        numeric = (landscape.value(points + step) - landscape.value(points - step)) / 2e-6
        np.testing.assert_allclose(landscape.gradient(points)[:, axis], numeric, rtol=1e-6, atol=1e-5)
    assert np.all(landscape.gradient(np.array(landscape.minimum)) == 0)


@pytest.mark.parametrize("place", landscapes.LANDSCAPES)
@pytest.mark.parametrize("name", WALKERS)
def test_paths_are_torchs(name: str, place: str) -> None:
    landscape, expected = landscapes.LANDSCAPES[place], STORED[f"{name}.{place}"]
    optimizer = landscapes.shown(place)[name]
    assert optimizer.lr == STORED[f"{name}.rates"][list(landscapes.LANDSCAPES).index(place)]
    points = landscapes.path(optimizer, landscape, 100)[10::10]
    np.testing.assert_allclose(points, expected, rtol=1e-7, atol=1e-9)
    off = landscapes.path(replace(optimizer, lr=1.001 * optimizer.lr), landscape, 100)[10::10]  # type: ignore[type-var]
    assert np.abs(off - expected).max() > 1e-6


@pytest.mark.parametrize("name", [*WALKERS, *SEARCHERS])
def test_paths_come_down(name: str) -> None:
    for landscape in landscapes.LANDSCAPES.values():
        heights = landscape.value(landscapes.path(landscapes.shown(landscape.name)[name], landscape, 100))
        assert heights[-1] < 0.5 * heights[0]


@pytest.mark.parametrize("place", landscapes.LANDSCAPES)
def test_paths_of_lbfgs_are_scipys(place: str) -> None:
    landscape, points = landscapes.LANDSCAPES[place], [np.array(landscapes.LANDSCAPES[place].start)]
    minimize(
        lambda p: (landscape.value(p), landscape.gradient(p)), points[0], jac=True, method="L-BFGS-B",
        callback=lambda intermediate_result: points.append(intermediate_result.x.copy()), options={"ftol": 2.22e-9},
    )  # fmt: skip
    found = landscapes.path(landscapes.shown(place)["lbfgs"], landscape, len(points) + 3)
    assert np.array_equal(found[: len(points)], points)
    assert np.array_equal(found[len(points) :], np.tile(points[-1], (len(found) - len(points), 1)))


@pytest.mark.parametrize("place", landscapes.LANDSCAPES)
def test_a_path_without_gradients_takes_the_steps_of_its_formula(place: str) -> None:
    landscape = landscapes.LANDSCAPES[place]
    optimizer = fnn.TwoPoint(lr=1e-3, noise=1e-4)
    points, stream = landscapes.path(optimizer, landscape, 20), randomness.Stream(randomness.key(0, randomness.SEARCH))
    for step in range(20):
        drawn = stream.at(step).standard_normal(2)
        ahead, behind = (landscape.value(points[step] + sign * 1e-4 * drawn) for sign in (1, -1))
        expected = points[step] - 1e-3 * (ahead - behind) / 2e-4 * drawn
        np.testing.assert_allclose(points[step + 1], expected, rtol=1e-12)


@pytest.mark.parametrize("backend", cases.BACKENDS)
@pytest.mark.parametrize("name", WALKERS)
def test_losses_of_a_small_network_are_torchs(name: str, backend: str) -> None:
    model = fnn.Sequential([fnn.Dense(8, "tanh"), fnn.Dense(3)], inputs=4, dtype="float64")
    model.set_weights([STORED[key] for key in ("weight0", "bias0", "weight1", "bias1")])
    shown: Optimizer = landscapes.shown("bowl")[name]
    optimizer = replace(shown, lr=float(STORED[f"{name}.rates"][2]))  # type: ignore[type-var]
    trainer = fnn.Trainer(model, "mse", optimizer, batch_size=30, backend=backend)
    losses = trainer.run(STORED["x"], STORED["y"], steps=60)
    np.testing.assert_allclose(losses, STORED[f"{name}.network"], rtol=1e-9)


def test_the_command_draws_them_and_lists_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "paths.png"
    assert main(["optimizers", "adam", "sgd", "--plot", str(picture), "--steps", "20"]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    first = picture.read_bytes()
    assert main(["optimizers", "adam", "sgd", "--plot", str(picture), "--steps", "20"]) == 0
    assert picture.read_bytes() == first
    capsys.readouterr()
    assert main(["optimizers"]) == 0
    listed = capsys.readouterr().out
    assert all(any(line.startswith(name) for line in listed.splitlines()) for name in (*OPTIMIZERS, *SEARCHES))
    assert "AdamW(lr=0.001" in listed
    assert "weight_decay=0.01" in listed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["adan"], "unknown optimizer 'adan'"),
        (["--steps", "0", "--plot", "a.png"], "--steps 0: must be at least 1"),
        (["--plot", "a.gif"], "must end in one of"),
    ],
)
def test_mistakes_of_the_command_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["optimizers", *arguments]) == 2
    assert message in capsys.readouterr().err
