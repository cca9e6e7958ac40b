"""Learning rate schedules: formulas, checks, functions of the user's."""

import math

import pytest

from fastnn.schedules import Constant, InverseTime, StepDecay, get_schedule, rate


def test_constant_keeps_the_rate():
    assert [Constant()(0.1, epoch) for epoch in (0, 1, 1000)] == [0.1] * 3
    assert get_schedule(None) == Constant()


def test_step_decay_multiplies_after_each_period():
    schedule = StepDecay(factor=0.5, every=3)
    assert [schedule(0.8, epoch) for epoch in range(8)] == [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2, 0.2]


def test_step_decay_agrees_with_torch():
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    theirs = torch.optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.7)
    for epoch in range(20):
        assert StepDecay(0.7, 4)(0.3, epoch) == pytest.approx(theirs.get_last_lr()[0], rel=1e-14)
        optimizer.step()
        theirs.step()


def test_inverse_time_is_the_formula():
    schedule = InverseTime(decay=0.25)
    assert [schedule(0.4, epoch) for epoch in range(5)] == [0.4 / (1 + 0.25 * epoch) for epoch in range(5)]
    assert InverseTime(0)(0.4, 10) == 0.4


@pytest.mark.parametrize(
    "make",
    [
        lambda: StepDecay(0.0, 1),
        lambda: StepDecay(1.5, 1),
        lambda: StepDecay(math.nan, 1),
        lambda: StepDecay(0.5, 0),
        lambda: InverseTime(-0.1),
        lambda: InverseTime(math.inf),
    ],
)
def test_fields_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match=r"(StepDecay|InverseTime)\((factor|every|decay)="):
        make()


def test_fields_of_a_wrong_type_are_refused():
    with pytest.raises(TypeError, match=r"StepDecay\(every=1.5\)"):
        StepDecay(0.5, 1.5)


def test_functions_are_schedules():
    assert rate(get_schedule(lambda lr0, epoch: lr0 / 2**epoch), 1.0, 3) == 0.125


@pytest.mark.parametrize("wrong", ["inverse_time", 0.1, InverseTime])
def test_what_is_no_schedule_is_refused(wrong):
    with pytest.raises(TypeError, match="schedule="):
        get_schedule(wrong)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, None, "fast"])
def test_impossible_rates_are_refused_by_epoch(value):
    with pytest.raises(ValueError, match=r"returned .* for epoch 5: expected a finite number"):
        rate(lambda lr0, epoch: value, 0.1, 5)
