"""Options of `train` by name, as the file of a sweep has them, and the words of a command line that they stand for.

A configuration is a dict of them: what is varied, what all trainings share, and under DATA the words for the data. So a
line of a results file says how to train the same network again.
"""

import argparse
import functools
import json
import shlex
from collections.abc import Mapping
from typing import Any, NoReturn

from fastnn.checks import unknown_name
from fastnn.cli import options as options_
from fastnn.cli.errors import CommandError

DATA = "fastnn train"
"""The name under which a configuration has what `train` is told of the data."""

_NOT_OF_SWEEPS = {"threads": "each training has one thread; workers in [sweep] says how many are trained at once"}
_FIXED_ALONE = {"dtype": "belongs in [fixed], since all trainings share the arrays"}
# Texts for `train` that may be written as numbers, too.
_NUMBERS_TOO: dict[str, tuple[type, ...]] = {"target": (int,), "hidden": (int,), "validation": (int, float)}


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are raised."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(message.removeprefix("argument "))


@functools.cache
def _parsers() -> tuple[_Parser, dict[str, argparse.Action], dict[str, argparse.Action]]:
    """What reads the words of `train`; its options about the data, and those about network and training."""

    def parser(*parts: Any) -> _Parser:
        found = _Parser(prog="fastnn train", add_help=False, allow_abbrev=False)
        for part in parts:
            part(found)
        return found

    def named(found: _Parser) -> dict[str, argparse.Action]:
        return {action.option_strings[0].removeprefix("--"): action for action in found._actions}

    model = options_.add_network_arguments, options_.add_training_arguments
    whole = parser(options_.add_data_arguments, *model)
    whole.add_argument("data")
    data, others = named(parser(options_.add_data_arguments)), named(parser(*model))
    data.pop("no-header")  # header = false
    return whole, data, {name: action for name, action in others.items() if name not in _NOT_OF_SWEEPS}


def action(name: str, varied: bool = False) -> argparse.Action:
    """An option about network or training; ValueError for others, those that cannot be varied among them."""
    known = _parsers()[2]
    if name in _NOT_OF_SWEEPS:
        raise ValueError(f"{name}: {_NOT_OF_SWEEPS[name]}")
    if varied and name in _FIXED_ALONE:
        raise ValueError(f"{name}: {_FIXED_ALONE[name]}")
    if name not in known:
        raise unknown_name("option", name, known)
    return known[name]


def is_whole(option: argparse.Action) -> bool:
    """Whether an option takes whole numbers; --hidden takes them as the width of one layer."""
    return option.type in (options_.whole, options_.positive, options_.widths)


def checked(name: str, value: Any) -> Any:
    """A value of an option about network or training, when `train` takes it; CommandError or TypeError if not."""
    words = _words(name, action(name), value)
    _parsers()[0].parse_args(["data", *words])
    return value


def data_words(given: Mapping[str, Any]) -> str:
    """The words for a source and options about the data; CommandError, TypeError or ValueError for others."""
    known = _parsers()[1]
    source = given.get("source")
    if not isinstance(source, str) or not source or source.startswith("-"):
        raise TypeError(f"source = {shown(source)}: expected a bundled set or a file" if "source" in given
                        else "source is missing: a bundled set or a file")  # fmt: skip
    words = [source]
    for name, value in given.items():
        if name == "source":
            continue
        if name not in known:
            raise unknown_name("option", name, {"source", *known})
        words += _words(name, known[name], value)
    options = _parsers()[0].parse_args(words)
    if options.split_seed is None and not _is_file(options.validation):
        words += ["--split-seed", "0"]  # the seeds of trainings do not split anew
    return shlex.join(words)


def command(config: Mapping[str, Any]) -> list[str]:
    """The words after `python -m fastnn train` for a configuration."""
    words = shlex.split(config[DATA])
    for name, value in config.items():
        if name != DATA:
            words += _words(name, action(name), value)
    return words


def options_of(config: Mapping[str, Any]) -> argparse.Namespace:
    """The options of `train` that a configuration stands for."""
    return _parsers()[0].parse_args(command(config))


def shown(value: Any) -> str:
    """A value nearly as the file has it."""
    return json.dumps(value, default=str)


def _is_file(validation: str) -> bool:
    from fastnn.cli.prepare import share_of

    return share_of(validation) is None


def _words(name: str, option: argparse.Action, value: Any) -> list[str]:
    """The words for a value of an option; TypeError for a value of another type."""
    flag = f"--{name}"
    if option.nargs == 0:
        _expect(name, value, (bool,), "true or false")
        negation = ["--no-header"] if name == "header" else []
        return [flag] if value else negation
    if isinstance(value, list) and name in ("drop", "missing"):
        for one in value:
            _expect(name, one, (str, int) if name == "drop" else (str,), "a list of texts")
        return [f"{flag}={one}" for one in value] if name == "missing" else [f"{flag}={','.join(map(str, value))}"]
    if option.type in (options_.whole, options_.positive):
        _expect(name, value, (int,), "a whole number")
    elif option.type is float:
        _expect(name, value, (int, float), "a number")
    else:
        numbers = _NUMBERS_TOO.get(name, ())
        _expect(name, value, (str, *numbers), "a text" + (" or a number" if numbers else ""))
    text = str(value)
    return [f"{flag}={text}"] if text.startswith("-") or not text else [flag, text]


def _expect(name: str, value: Any, types: tuple[type, ...], what: str) -> None:
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise TypeError(f"{name} = {shown(value)}: expected {what}")
