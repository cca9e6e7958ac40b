"""exp, tanh and sigmoid, activations, softmax with its loss gradient: elements per nanosecond, and how exact they are.

    python -m bench.functions             float32 and float64
    python -m bench.functions --quick     fewer rounds and fewer numbers
    python -m bench.functions -k gelu     the rows with that in their names

The vector functions of each kernel set are put into a bare loop over an array in L1 (4096 numbers), on groups of
vectors as the kernels call them: Numba's by Numba, those of kernels/vecmath.h by the C compiler with the flags of
kernels/build.py; without one the column is missing. Errors are in units in the last place of the exact result, over all
float32 numbers that are looked at (every 256th bit pattern) or a million float64 ones of all magnitudes; results that
are subnormal are counted by themselves, and infinite and NaN arguments have to come out exactly. Activations are
operations on 32 x 128 numbers (bench/activations.py), with their derivatives where training makes both at once; softmax
and its logarithm those on 128 rows, over normal logits of several spreads. Softmax with its loss gradient is
`cross_entropy` on 128 rows as a plan calls it, an element being one logit; it is checked as in bench/kernels.py.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # cases, judge, tolerances
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import environment

if __name__ == "__main__":
    environment.prepare()

import cases
import judge
import numpy as np
import tolerances

from bench import activations, machine, native, output, timing
from fastnn.kernels import OPERATIONS, cpu, objects

FUNCTIONS = ("exp", "tanh", "sigmoid")
DTYPES = ("float32", "float64")
NUMBERS = 4096
OUTPUTS = (10, 30, 100, 300, 1000)
ROWS = 128
MOST_ULP = {"exp": 1.1, "tanh": 1.6, "sigmoid": 1.5}  # that fastnn/kernels/numba/vecmath.py states of any CPU
SPECIAL = {
    "exp": [(-np.inf, 0.0), (np.inf, np.inf), (0.0, 1.0), (-0.0, 1.0), (1e4, np.inf), (-1e4, 0.0)],
    "tanh": [(-np.inf, -1.0), (np.inf, 1.0), (0.0, 0.0), (-0.0, -0.0), (1e4, 1.0), (-1e4, -1.0)],
    "sigmoid": [(-np.inf, 0.0), (np.inf, 1.0), (0.0, 0.5), (-0.0, 0.5), (1e4, 1.0), (-1e4, 0.0)],
}

Array = np.ndarray[Any, Any]
Evaluate = Callable[[Array, Array, int], None]
"""out = f(x) for arrays of whole vectors, as many times as the last argument says."""

C_SOURCE = """
#include "isa/{dtype}.h"
#include "isa/{isa}.h"
#include "vecmath.h"
void evaluate(REAL *out, const REAL *x, int64_t n, int64_t count)
{{
    for (; count > 0; count--) {{
        int64_t i = 0;
        for (; i + GROUP * LANES <= n; i += GROUP * LANES) {{
            V value[GROUP];
            for (int j = 0; j < GROUP; j++) {{
                value[j] = load(x + i + j * LANES);
            }}
            {name}_of(value, GROUP);
            for (int j = 0; j < GROUP; j++) {{
                store(out + i + j * LANES, value[j]);
            }}
        }}
        for (; i < n; i += LANES) {{
            V value = load(x + i);
            {name}_of(&value, 1);
            store(out + i, value);
        }}
    }}
}}
"""
ARGUMENTS = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
_kept: list[Any] = []  # what owns the code of the loops


def _caller(function: Callable[..., None]) -> Evaluate:
    return lambda out, x, count: function(out.ctypes.data, x.ctypes.data, len(x), count)


def numba_loop(name: str, dtype: str) -> Evaluate:
    """The function of fastnn/kernels/numba/vecmath.py in a loop."""
    import llvmlite.binding as llvm
    from numba import types

    from fastnn.kernels.numba import vecmath
    from fastnn.kernels.numba.entry import object_code
    from fastnn.kernels.numba.groups import group, load_group, store_group
    from fastnn.kernels.numba.simd import lanes, load, store

    function = getattr(vecmath, name)

    def evaluate(out, x, n, count):  # type: ignore[no-untyped-def]
        width = lanes(x)
        whole = n // (group(x) * width) * (group(x) * width)
        for _ in range(count):
            for i in range(0, whole, group(x) * width):
                store_group(out, i, width, function(load_group(x, i, width)))
            for i in range(whole, n, width):
                store(out, i, function(load(x, i)))

    numbers, symbol = types.CPointer(getattr(types, dtype)), f"bench_{name}_{dtype}"
    engine = objects._engine()
    code = object_code(evaluate, types.void(numbers, numbers, types.int64, types.int64), symbol)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _kept.append(engine)
    prototype = ctypes.CFUNCTYPE(None, *ARGUMENTS)
    return _caller(prototype(engine.get_function_address(symbol)))


def _flags() -> list[str]:
    """The compiler flags of the C kernels."""
    specification = importlib.util.spec_from_file_location("kernels_build", environment.ROOT / "kernels" / "build.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return list(module.FLAGS)


def c_loop(name: str, dtype: str) -> Evaluate | None:
    """The function of kernels/vecmath.h in a loop; None without a compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "evaluate.c", Path(folder) / "evaluate.so"
        source.write_text(C_SOURCE.format(name=name, dtype=dtype, isa=cpu.isa()))
        include = f"-I{environment.ROOT / 'kernels'}"
        command = [compiler, *_flags(), "-w", "-fPIC", "-shared", include, str(source), "-o", str(library)]
        subprocess.run(command, check=True)
        loaded = ctypes.CDLL(str(library))
    loaded.evaluate.argtypes = ARGUMENTS
    loaded.evaluate.restype = None
    return _caller(loaded.evaluate)


def numpy_loop(name: str, dtype: str) -> Evaluate:
    def once(out: Array, x: Array) -> None:
        if name != "sigmoid":
            getattr(np, name)(x, out=out)
            return
        np.negative(x, out=out)
        np.exp(out, out=out)
        np.add(out, 1, out=out)
        np.reciprocal(out, out=out)

    def evaluate(out: Array, x: Array, count: int) -> None:
        for _ in range(count):
            once(out, x)

    return evaluate


def exact(name: str, x: Array) -> Array:
    """The function at x in wider arithmetic."""
    wide = x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)
    if name not in FUNCTIONS:
        return activations.value(name, wide)
    if name == "sigmoid":
        e = np.exp(-np.abs(wide))
        return np.asarray(np.where(wide < 0, e, 1) / (1 + e))
    return np.asarray(getattr(np, name)(wide))


def samples(dtype: str, quick: bool) -> Iterator[Array]:
    """Finite numbers in pieces of whole vectors."""
    if dtype == "float32":
        step = 2**12 if quick else 2**8
        for start in range(0, 2**32, 2**28):
            patterns = np.arange(start + 37, start + 2**28, step, dtype=np.uint64).astype(np.uint32)
            yield np.nan_to_num(patterns.view(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        return
    generator, count = np.random.default_rng(0), 2**14 if quick else 2**17
    x = generator.integers(0, 2**64, count, dtype=np.uint64).view(np.float64)
    yield np.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
    for low, high in ((-750, 712), (-40, 40), (-1, 1), (-1e-3, 1e-3)):
        yield generator.uniform(low, high, count)


def errors(name: str, dtype: str, evaluate: Evaluate, quick: bool) -> dict[str, Any]:
    """The largest error in ulp of normal and of subnormal results, and whether special values come out exactly."""
    worst = {"normal": 0.0, "subnormal": 0.0}
    info = np.finfo(dtype)
    for x in samples(dtype, quick):
        got = np.empty_like(x)
        with np.errstate(all="ignore"):
            evaluate(got, x, 1)
            expected = exact(name, x)
            rounded = expected.astype(dtype)
            error = np.abs(got - expected) / np.spacing(np.abs(np.where(np.isfinite(rounded), rounded, 1)))
            error = np.where(got == rounded, np.where(np.isfinite(rounded), error, 0), error)
        error = np.where((np.isfinite(got) == np.isfinite(rounded)) & ~np.isnan(error), error, np.inf)
        normal = np.abs(expected) >= info.smallest_normal
        for kind, part in (("normal", normal), ("subnormal", ~normal)):
            worst[kind] = max(worst[kind], float(np.max(error[part], initial=0.0)))
    known_values = SPECIAL.get(name) or activations.special(name)
    special = np.array([x for x, _ in known_values] + [np.nan] * 10, dtype)
    out = np.empty_like(special)
    with np.errstate(all="ignore"):
        evaluate(out, special, 1)
    known = len(known_values)
    right = out[:known].tobytes() == np.array([y for _, y in known_values], dtype).tobytes()
    return worst | {"special": bool(right and np.isnan(out[known:]).all())}


def function_row(name: str, dtype: str, sets: list[str], quick: bool) -> dict[str, Any]:
    makers: dict[str, Callable[[str, str], Evaluate | None]] = {"numba": numba_loop, "c": c_loop}
    made = {"NumPy": numpy_loop(name, dtype)}
    for kernel_set in sets:
        found = makers[kernel_set](name, dtype)
        if found is not None:
            made[kernel_set] = found
    x = np.random.default_rng(0).uniform(-8, 8, NUMBERS).astype(dtype)

    def repeated(evaluate: Evaluate) -> native.Run:
        out = np.empty_like(x)

        return lambda count: evaluate(out, x, count)

    row: dict[str, Any] = {"name": name, "dtype": dtype, "elements": NUMBERS, "unit": "ulp"}
    row["errors"] = {n: errors(name, dtype, f, quick) for n, f in made.items() if n != "NumPy"}
    row["wrong"] = {n: found for n, found in row["errors"].items() if is_wrong(name, found)}
    if row["wrong"]:
        return row
    timed = timing.interleaved({n: repeated(f) for n, f in made.items()}, 5 if quick else 15, stretch=0.01)
    bandwidth = machine.bandwidth(2 * x.nbytes, 2, 1, repeats=3) * 2 / 3  # it reads the stream that it writes, too
    speed = {n: 2 * x.nbytes / found.median * 1e-9 for n, found in timed.items()}
    row |= {"gigabytes_per_second": speed, "fraction": {n: value / bandwidth for n, value in speed.items()}}
    return row | speeds(NUMBERS, timed)


def is_wrong(name: str, found: Mapping[str, Any]) -> bool:
    """Whether errors are beyond what a function promises, or special values are not exact."""
    return not (found["special"] and max(found["normal"], found["subnormal"]) <= MOST_ULP[name])


def speeds(elements: int, timed: Mapping[str, timing.Timing]) -> dict[str, Any]:
    """What a row says of the time of its candidates, which do so many elements."""
    return {
        "speed": {name: elements / found.median * 1e-9 for name, found in timed.items()},
        "rounds": {name: found.rounds for name, found in timed.items()},
        "disturbed": {name: found.disturbed for name, found in timed.items()},
        "c/numba": native.ratio({name: found.median for name, found in timed.items()}),
    }


def activation_row(name: str, dtype: str, sets: list[str], quick: bool) -> dict[str, Any]:
    row = activations.row(name, dtype, sets, quick, errors)
    timed = row.pop("timed", None)
    return row if timed is None else row | speeds(row["elements"], timed)


def activation_row_of_rows(what: tuple[str, int], dtype: str, sets: list[str], quick: bool) -> dict[str, Any]:
    row = activations.row_of_rows(*what, dtype, sets, quick)
    timed = row.pop("timed", None)
    return row if timed is None else row | speeds(row["elements"], timed)


def softmax_row(outputs: int, dtype: str, sets: list[str], quick: bool) -> dict[str, Any]:
    entry = OPERATIONS["cross_entropy"]
    arguments = cases.arguments(entry.name, {"C": outputs, "B": ROWS}, dtype)
    judged = judge.outcome(entry, arguments)
    name = f"softmax and gradient, {outputs} outputs"
    row: dict[str, Any] = {"name": name, "dtype": dtype, "unit": "tolerances", "wrong": {}, "errors": {}}

    def numpy(count: int) -> None:
        for _ in range(count):
            entry.reference(**arguments)

    candidates: dict[str, native.Run] = {"NumPy": numpy}
    for kernel_set in sets:
        run, given = native.one_call(kernel_set, entry, dtype, arguments)
        run(1)
        allowed = {name: tolerances.allowed(entry.name, name, judged) for name in ("dz", "loss")}
        off = max(tolerances.excess(given[name], judged.after[name], allowed[name]) for name in allowed)
        row["errors"][kernel_set] = {"tolerances": off}
        if not off <= 1:
            row["wrong"][kernel_set] = off
        candidates[kernel_set] = run
    if row["wrong"]:
        return row
    timed = timing.interleaved(candidates, 5 if quick else 15, stretch=0.01)
    return row | speeds(outputs * ROWS, timed)


def cells(row: dict[str, Any], sets: list[str]) -> list[str]:
    if row["wrong"]:
        return [f"{row['name']}, {row['dtype']} WRONG: {row['wrong']}", *[""] * (2 + 3 * len(sets))]
    found = [f"{row['name']}, {row['dtype']}", output.number(row["speed"]["NumPy"])]
    for name in sets:
        error = row["errors"].get(name, {})
        found += [output.number(row["speed"].get(name)), output.number(error.get("normal"))]
        special = {True: "", False: " SPECIAL VALUES WRONG", None: ""}[error.get("special")]
        found.append(output.number(error.get("subnormal")) + special)
    return [*found, output.number(row["c/numba"])]


def table(rows: list[dict[str, Any]], sets: list[str]) -> str:
    headings = ["elements per ns", "NumPy"]
    for name in sets:
        headings += [name, "max ulp", "subnormal"]
    return output.table([*headings, "c/numba"], [cells(row, sets) for row in rows])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 rounds instead of 15, a sixteenth of the numbers")
    native.add_option(parser)
    parser.add_argument("--save", action="store_true", help="write the JSON also for --quick")
    parser.add_argument("-k", default="", metavar="TEXT", help="only functions and operations with TEXT in their names")
    arguments = parser.parse_args()
    sets = native.kernel_sets(arguments.backend)
    header = environment.header()
    print(environment.describe(header))
    wanted: list[tuple[Callable[..., dict[str, Any]], str, Any]] = [(function_row, name, name) for name in FUNCTIONS]
    wanted += [(activation_row, name, name) for name in activations.NAMES]
    wanted += [
        (activation_row_of_rows, name, (name, features))
        for name in activations.OF_ROWS for features in activations.FEATURES
    ]  # fmt: skip
    wanted += [(softmax_row, f"softmax of {outputs}", outputs) for outputs in OUTPUTS]
    rows = [
        measure(what, dtype, sets, arguments.quick)
        for measure, name, what in wanted
        if arguments.k in name
        for dtype in DTYPES
    ]
    print("\n" + table(rows, sets))
    if arguments.save or not (arguments.quick or arguments.k):
        saved = output.save("functions", header, {"sets": sets, "rows": rows})
        print(f"saved {saved.relative_to(environment.ROOT)}")
    return 1 if any(row["wrong"] for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
