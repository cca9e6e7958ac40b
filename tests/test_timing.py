"""How benchmarks deal with what else runs on the machine: rounds that were disturbed are measured again, or marked."""

from collections.abc import Callable, Iterable
from itertools import chain, repeat

import pytest

from bench import neighbours, timing


@pytest.fixture
def accompanied(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterable[bool]], None]:
    """Lets a neighbour be seen, or not, at each look, and nobody wait for it."""

    def say(seen: Iterable[bool]) -> None:
        answers = iter(seen)
        monkeypatch.setattr(neighbours, "at_work", lambda cores=(): next(answers))
        monkeypatch.setattr(neighbours, "wait", lambda cores, seconds: None)

    return say


def work(count: int) -> None:
    for _ in range(count):
        sum(range(100))


def timed(rounds: int) -> dict[str, timing.Timing]:
    return timing.interleaved({"a": work, "b": work}, rounds, stretch=0.002)


def test_rounds_beside_a_neighbour_are_measured_again(accompanied: Callable[[Iterable[bool]], None]) -> None:
    accompanied(chain(repeat(True, 6 * 2), repeat(False)))  # six rounds of two candidates
    found = timed(8)
    assert all(len(one.rounds) == 8 for one in found.values())
    assert max(one.disturbed for one in found.values()) <= timing.MANY


def test_a_result_that_stays_disturbed_is_marked(accompanied: Callable[[Iterable[bool]], None]) -> None:
    looks = 0

    def always() -> Iterable[bool]:
        nonlocal looks
        while True:
            looks += 1
            yield True

    accompanied(always())
    found = timed(4)
    assert [one.disturbed for one in found.values()] == [1.0, 1.0]
    assert timing.mark(found["a"].disturbed) == "*"
    assert looks >= timing.ATTEMPTS * 4 * 2  # at each candidate in so many rounds, then no more


def test_a_process_without_patience_measures_once(
    accompanied: Callable[[Iterable[bool]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing.PATIENCE, "left", 0.0)
    accompanied(repeat(True, 4 * 2))  # StopIteration would say that more was measured
    assert len(timed(4)["a"].rounds) == 4


def test_a_few_wrong_looks_do_not_make_every_core_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = chain(repeat(16.0, 60), [40.0, 35.0, 50.0], repeat(16.1))
    monkeypatch.setattr(neighbours, "issue_rate", lambda: next(rates))
    monkeypatch.setattr(neighbours, "_rates", {})
    assert not any(neighbours.at_work([7]) for _ in range(100))


def test_a_core_whose_rate_falls_is_shared_and_each_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_rates", {})
    for core, own in ((0, 16.0), (1, 12.0)):
        rates = chain(repeat(own, 60), repeat(0.8 * own))
        monkeypatch.setattr(neighbours, "issue_rate", lambda rates=rates: next(rates))
        seen = [neighbours.at_work([core]) for _ in range(20)]
        assert seen == [False] * 10 + [True] * 10


def test_the_rate_of_instructions_is_that_of_the_core() -> None:
    rate = neighbours.issue_rate()
    assert 1 < rate < 100  # a multiplication takes 3 or 4 cycles, a core starts up to 10 instructions in each
