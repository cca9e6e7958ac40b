"""Searches that learn from results, and pruning: Optuna's samplers and pruners, by ask and tell.

A training is a trial of an Optuna study, repeats of a configuration are trials with the same parameters. The study may
lie in any storage of Optuna's, so that its dashboard shows it.

Repeats are no rivals of each other: the pruner is asked about the first repeat of each configuration, which competes
with those of others by the same seed, and the other repeats share its fate. Were each judged by itself, a configuration
would need luck with all of its seeds to have a mean, and the means of what is left would be those of lucky seeds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastnn import checks

from .space import SEED, Choice, Config, Dimension, Integers, Space
from .strategies import SEARCHES, Listed
from .trials import Trial, key_of

try:
    import optuna
except ImportError:
    raise ImportError(
        "sweep(search='tpe', prune=...) needs optuna: pip install 'fastnn[sweeps]'"
    ) from None  # fmt: skip

PRUNERS = ("asha", "median")
_KEY, _OWNER = "fastnn key", "fastnn results"  # attributes of trials in the study
_States = optuna.trial.TrialState


@dataclass
class _AtWork:
    """A trial that is not done.

    configuration   of which one: a hash, the seed left out
    leads           whether it is the first of the repeats
    proposed        by the study's sampler; repeats are given to it
    steps           that it has reported: one that is tried again has them again
    """

    configuration: str
    leads: bool
    proposed: bool
    steps: set[int] = field(default_factory=set)


class Studied:
    """Configurations from a sampler, or from a list, as trials of a study, whose pruner is asked."""

    ahead = False

    def __init__(
        self, space: Space, search: Any, trials: int | None, seed: int, prune: Any, larger_is_better: bool,
        budget: int | None,
    ) -> None:  # fmt: skip
        direction = "maximize" if larger_is_better else "minimize"
        self._space, self._budget = space, budget
        self._listed: Listed | None = None
        self._study = _study(search, seed, prune, direction)
        if isinstance(search, str) and search != "tpe":
            self._listed = Listed(space, search, trials, seed)
            trials = self._listed.total
        elif trials is None:
            raise ValueError(f"sweep(search={search!r}): say how many: trials=...")
        self.total = trials
        self.prunes = not isinstance(self._study.pruner, optuna.pruners.NopPruner)
        self._distributions = {name: _distribution(dimension) for name, dimension in space.varied.items()}
        if isinstance(search, optuna.Study):
            _check_space(search, self._distributions)
        self._asked, self._owner = 0, ""
        self._left: list[tuple[Config, dict[str, Any]]] = []  # repeats of configurations that were begun
        self._met: list[Any] = []  # what others put into the study at that moment
        self._restored: set[str] = set()  # keys of trials that the study has from an earlier run
        self._at_work: dict[Any, _AtWork] = {}
        self._out: set[str] = set()  # configurations whose first repeat was pruned or diverged
        self._over = False  # whether the sampler has nothing left to propose

    def ask(self) -> tuple[Config, Any] | None:
        """As `Strategy.ask`."""
        if (self.total is not None and self._asked >= self.total) or (self._over and not self._left):
            return None
        if self._listed is not None:
            return self._ask_listed(self._listed)
        self._asked += 1
        if self._left and not self._met and not self._study.get_trials(deepcopy=False, states=(_States.WAITING,)):
            shared, repeat = self._left.pop(0)
            return {**shared, **repeat}, self._begin(shared, {**shared, **repeat})
        token = self._met.pop(0) if self._met else self._study.ask(self._distributions)
        shared = dict(token.params)
        first, *others = self._space.repeats
        self._left += [(shared, repeat) for repeat in others]
        self._mark(token, {**shared, **first}, proposed=True)
        return {**shared, **first}, token

    def _ask_listed(self, listed: Listed) -> tuple[Config, Any] | None:
        while (found := listed.ask()) is not None:
            config = found[0]
            self._asked += 1
            if key_of(config, self._budget) not in self._restored:
                return config, self._begin({name: config[name] for name in self._distributions}, config)
        return None

    def stops(self, token: Any, step: int, value: float) -> bool:
        """As `Strategy.stops`."""
        trial = self._at_work[token]
        if step not in trial.steps:
            trial.steps.add(step)
            token.report(value, step)
        if trial.leads and token.should_prune():
            self._out.add(trial.configuration)
        return trial.configuration in self._out

    def tell(self, token: Any, trial: Trial) -> None:
        """As `Strategy.tell`."""
        state = _state(trial)
        self._note(trial)
        with contextlib.nullcontext() if self._at_work.pop(token).proposed else self._giving(trial.shared):
            try:
                self._study.tell(token, trial.value if state == _States.COMPLETE else None, state)
            except RuntimeError as error:
                # A sampler of a finite space ends `optimize` so when all is done; the trial has been told.
                if "Study.stop" not in str(error):
                    raise
                self._over = True

    def drop(self, token: Any) -> None:
        """As `Strategy.drop`. The study may have been told of it just before."""
        self._at_work.pop(token, None)
        self._study.tell(token, state=_States.FAIL, skip_if_finished=True)

    def restore(self, trials: list[Trial], owner: str) -> None:
        """As `Strategy.restore`. What the study has not heard of is put in; trials that were at work when an earlier
        run ended without a word are failures."""
        self._owner = owner
        everything = self._study.get_trials(deepcopy=False)
        done = [frozen for frozen in everything if frozen.state in (_States.COMPLETE, _States.PRUNED)]
        # A kill between the birth of a trial and its mark leaves one without: it is ours where all that are done are.
        # (Those that failed are not asked: an earlier kill may have left one of them without.)
        ours = (owner, None) if {frozen.user_attrs.get(_OWNER) for frozen in done} == {owner} else (owner,)
        for frozen in everything:
            if frozen.state == _States.RUNNING and frozen.user_attrs.get(_OWNER) in ours:
                self._study.tell(frozen.number, state=_States.FAIL)
        known = {frozen.user_attrs.get(_KEY) for frozen in done}
        for trial in trials:
            self._note(trial)
            if trial.key not in known and _state(trial) != _States.FAIL:
                self._put_in(trial)
        if trials:
            self._study.sampler.reseed_rng()  # with the seed of the earlier run it would propose the same again
        self._restored = {trial.key for trial in trials}
        if self._listed is None:
            self._asked = len(trials)
            self._left = _missing(self._space, trials)

    def _put_in(self, trial: Trial) -> None:
        """A trial that is done, into the study."""
        if self.prunes:  # what pruners know of trials they note while those report
            token = self._begin(trial.shared, trial.config)
            for step, value in enumerate(trial.curve, start=1):
                token.report(value, step)
                if self._at_work[token].leads:
                    token.should_prune()
            self.tell(token, trial)
            return
        state = _state(trial)
        self._study.add_trial(
            optuna.trial.create_trial(
                state=state, value=trial.value if state == _States.COMPLETE else None, params=trial.shared,
                distributions=self._distributions, user_attrs={_KEY: trial.key, _OWNER: self._owner},
                intermediate_values=dict(enumerate(trial.curve, start=1)),
            )
        )  # fmt: skip

    def _note(self, trial: Trial) -> None:
        """What a trial that is done means for the other repeats."""
        if trial.status in ("pruned", "diverged") and self._leads(trial.config):
            self._out.add(key_of(trial.shared, self._budget))

    def _leads(self, config: Config) -> bool:
        """Whether it is the first of the repeats."""
        return bool(config.get(SEED) == self._space.repeats[0].get(SEED))

    def _begin(self, shared: Config, config: Config) -> Any:
        """A trial of the study with these parameters."""
        with self._giving(shared):
            while (token := self._study.ask(self._distributions)).params != shared:
                self._met.append(token)
        self._mark(token, config)
        return token

    @contextmanager
    def _giving(self, shared: Config) -> Iterator[None]:
        """The study has no sampler but these parameters: its own is not asked for a repeat, nor told of it."""
        sampler, self._study.sampler = self._study.sampler, _Given(shared)
        try:
            yield
        finally:
            self._study.sampler = sampler

    def _mark(self, token: Any, config: Config, proposed: bool = False) -> None:
        shared = {name: value for name, value in config.items() if name != SEED}
        self._at_work[token] = _AtWork(key_of(shared, self._budget), self._leads(config), proposed)
        if self._owner:
            token.set_user_attr(_OWNER, self._owner)
        token.set_user_attr(_KEY, key_of(config, self._budget))
        for name, value in config.items():
            if name not in self._distributions:
                token.set_user_attr(name, value)


class _Given(optuna.samplers.BaseSampler):  # type: ignore[misc]
    """Parameters that are known, for the next trial."""

    def __init__(self, params: Config) -> None:
        self._params = params

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        """None is."""
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        """Nothing."""
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        """The one that is given."""
        return self._params[param_name]


def _study(search: Any, seed: int, prune: Any, direction: str) -> Any:
    """The study that was given, or one in memory."""
    checks.not_a_class("sweep(search)", search, optuna.samplers.BaseSampler)
    checks.not_a_class("sweep(prune)", prune, optuna.pruners.BasePruner)
    pruner = _pruner(prune)
    if isinstance(search, optuna.Study):
        if len(search.directions) > 1:
            raise ValueError(f"sweep(search=study): the study has {len(search.directions)} objectives, expected one")
        given = search.direction.name.lower()
        if given != direction:
            raise ValueError(f"sweep(search=study): the study is to {given}, the sweep to {direction} its objective")
        if pruner is not None:
            search.pruner = pruner
        return search
    if isinstance(search, optuna.samplers.BaseSampler):
        sampler = search
    elif search == "tpe":
        # Trials at work count as bad ones, so that several workers are not sent to the same place.
        sampler = optuna.samplers.TPESampler(seed=seed % 2**32, constant_liar=True)
    elif isinstance(search, str):
        sampler = optuna.samplers.RandomSampler(seed=seed % 2**32)  # draws nothing: all parameters are given
    else:
        raise TypeError(
            f"sweep(search={search!r}): expected a name ({', '.join(SEARCHES)}), an Optuna sampler or an Optuna study"
        )
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # a line for the study itself says nothing here
    try:
        return optuna.create_study(
            sampler=sampler, pruner=pruner or optuna.pruners.NopPruner(), direction=direction
        )  # fmt: skip
    finally:
        optuna.logging.set_verbosity(level)


def _check_space(study: Any, distributions: dict[str, Any]) -> None:
    """Refuses a study whose trials have a parameter of the space as another kind."""
    for frozen in study.get_trials(deepcopy=False):
        for name, own in distributions.items():
            theirs = frozen.distributions.get(name, own)
            try:
                optuna.distributions.check_distribution_compatibility(theirs, own)
            except ValueError:
                raise ValueError(
                    f"sweep(search=study): in the study {name} is {theirs}, in the space {own}; take another study"
                ) from None


def _pruner(prune: Any) -> Any:
    if prune is None or isinstance(prune, optuna.pruners.BasePruner):
        return prune
    if prune == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    if prune == "median":
        return optuna.pruners.MedianPruner()
    if isinstance(prune, str):
        raise checks.unknown_name("prune", prune, PRUNERS)
    raise TypeError(f"sweep(prune={prune!r}): expected {', '.join(map(repr, PRUNERS))}, an Optuna pruner or None")


def _distribution(dimension: Dimension) -> Any:
    if isinstance(dimension, Choice):
        return optuna.distributions.CategoricalDistribution(dimension.values)
    kind = optuna.distributions.IntDistribution
    if not isinstance(dimension, Integers):
        kind = optuna.distributions.FloatDistribution
    return kind(dimension.low, dimension.high, log=dimension.log)


def _state(trial: Trial) -> Any:
    return {"finished": _States.COMPLETE, "pruned": _States.PRUNED}.get(trial.status, _States.FAIL)


def _missing(space: Space, trials: list[Trial]) -> list[tuple[Config, dict[str, Any]]]:
    """The repeats that configurations of an earlier run have not had."""
    begun: dict[str, tuple[Config, set[Any]]] = {}
    for trial in trials:
        begun.setdefault(repr(sorted(trial.shared.items())), (trial.shared, set()))[1].add(trial.seed)
    return [
        (shared, repeat)
        for shared, seeds in begun.values()
        for repeat in space.repeats
        if repeat and repeat[SEED] not in seeds
    ]
