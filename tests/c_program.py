"""The C kernels in a program of their own (tests/c/kernel_server.c): built with sanitizers, by another compiler or for
another CPU, and asked to run kernels on memory that ends where the contract ends.

    FASTNN_TEST_CC      the compiler, cc if it is not set
    FASTNN_TEST_CFLAGS  its flags, SANITIZED if not set
    FASTNN_TEST_RUN     the command before the program's name, such as an emulator
"""

import ctypes
import os
import runpy
import shlex
import struct
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds

from fastnn.kernels import Operation
from fastnn.kernels.table import ArrayOperand, argument_words
from fastnn.plan.passes import Column, Passes, Window
from fastnn.plan.plan import Plan
from fastnn.plan.prepared import Prepared, Table
from fastnn.plan.threads import TeamRunner, _waves

Array = np.ndarray[Any, Any]
Span = tuple[int, int]  # where a stretch of memory begins and ends

HERE = Path(__file__).parent
KERNELS = HERE.parent / "kernels"
LEVELS = {"avx512": 64, "avx2": 32, "baseline": 16}
"""Bytes of a vector by level, the highest one first; a CPU that has one has those behind it."""

SANITIZED = "-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined"
_CANARY = 0xA5


def compiler() -> list[str]:
    return shlex.split(os.environ.get("FASTNN_TEST_CC", "cc"))


def flags() -> list[str]:
    return shlex.split(os.environ.get("FASTNN_TEST_CFLAGS", SANITIZED))


def emulator() -> list[str]:
    return shlex.split(os.environ.get("FASTNN_TEST_RUN", ""))


def sanitized(by: str = "address,undefined") -> bool:
    """Whether these sanitizers are in the program."""
    return f"-fsanitize={by}" in flags()


def why_not(folder: Path) -> str:
    """Why there can be no such program: what the compiler says of the shortest one; "" if it can make that."""
    source = folder / "shortest.c"
    source.write_text("int main(void) { return 0; }\n")
    try:
        _compile([*compiler(), *flags(), str(source), "-o", str(folder / "shortest")])
    except (OSError, AssertionError) as error:
        return str(error)
    return ""


def build(folder: Path) -> Path:
    """Compiles the kernels, with the flags of the library, and the program around them; an AssertionError with the
    compiler's words if there is an error or a warning."""
    rules = runpy.run_path(str(KERNELS / "build.py"))
    units = [*rules["units"](), HERE / "c" / "faults.c", HERE / "c" / "kernel_server.c"]
    objects = [str(folder / f"{path.stem}.o") for path in units]
    command = [*compiler(), *rules["FLAGS"], *rules["WARNINGS"], "-Werror", *flags(), f"-I{KERNELS}"]
    commands = [[*command, "-c", str(path), "-o", out] for path, out in zip(units, objects, strict=True)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_compile, commands))
    program = folder / "kernel_server"
    _compile([*command, "-rdynamic", *objects, "-o", str(program), "-lm", "-ldl", "-lpthread"])
    return program


def _compile(command: Sequence[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{shlex.join(command)}\n{result.stderr}"


class Died(AssertionError):
    """The program ended before it answered; the message is what it said."""


class Program:
    """The program, started anew after it has died."""

    def __init__(self, path: Path) -> None:
        self._path, self._errors = path, path.with_suffix(".stderr")
        self._process: subprocess.Popen[bytes] | None = None
        self.best_isa = self._start()

    @property
    def levels(self) -> list[str]:
        """The levels that it can run."""
        return list(LEVELS)[list(LEVELS).index(self.best_isa) :]

    def _start(self) -> str:
        environment = os.environ | {
            "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1", "TSAN_OPTIONS": "halt_on_error=1",
        }  # fmt: skip
        with open(self._errors, "wb") as errors:
            self._process = subprocess.Popen(
                [*emulator(), str(self._path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                env=environment,
            )  # fmt: skip
        level = self._process.stdout.readline().decode().strip()  # type: ignore[union-attr]
        return level or self._died()

    def _died(self) -> Any:
        process, self._process = self._process, None
        assert process is not None
        code = process.wait()
        process.stdin.close()  # type: ignore[union-attr]
        process.stdout.close()  # type: ignore[union-attr]
        raise Died(f"the program ended with {code}:\n{self._said()[:8000]}")

    def _said(self) -> str:
        return self._errors.read_text(errors="replace")

    def close(self) -> None:
        """Ends it; an AssertionError if it has something to say."""
        if self._process is None:
            return
        self._process.communicate()
        assert self._process.returncode == 0, self._said()
        assert not self._said()

    def ask(self, request: "Request") -> None:
        """Runs a request; its blocks then hold what those of the program hold."""
        if self._process is None:
            self._start()
        assert self._process is not None
        try:
            self._process.stdin.write(request.message())  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        except BrokenPipeError:
            self._died()
        for block in request.blocks:
            content = self._process.stdout.read(len(block.content))  # type: ignore[union-attr]
            if len(content) != len(block.content):
                self._died()
            block.content[...] = np.frombuffer(content, np.uint8)


@dataclass
class Block:
    """Memory as the contract promises it: `lead` forbidden bytes, then rows of `row_bytes`, one every `stride` bytes,
    and forbidden ground between them."""

    lead: int
    rows: int
    row_bytes: int
    stride: int
    content: Array

    @staticmethod
    def of(rows: int, row_bytes: int, lead: int, gap: int, padding: int) -> "Block":
        """A block full of the byte `padding`, of the canary where nothing is to be touched."""
        stride = row_bytes + gap
        content = np.full(lead + (rows - 1) * stride + row_bytes, _CANARY, np.uint8)
        block = Block(lead, rows, row_bytes, stride, content)
        for row in range(rows):
            block.row(row)[...] = padding
        return block

    def row(self, row: int) -> Array:
        start = self.lead + row * self.stride
        return self.content[start : start + self.row_bytes]

    def touched(self) -> bool:
        """Whether the forbidden ground is not what it was."""
        rest = self.content.copy()
        for row in range(self.rows):
            start = self.lead + row * self.stride
            rest[start : start + self.row_bytes] = _CANARY
        return bool((rest != _CANARY).any())


_NOTHING = np.zeros(0, np.int64)


@dataclass
class Request:
    """Kernels by name, their words one after the other, and where addresses of blocks are to be entered.

    words           (W,), or (workspaces, W) for several threads
    relocations     (where, block, offset): the place among the words, or behind them in the table; which block; where
                    in it
    places, table   as fastnn_run takes them; an empty table: each kernel is called once, by fastnn_call
    threads, cuts, waves, chains   as fastnn_run_threads takes them; 0: fastnn_run
    """

    names: list[str]
    starts: Sequence[int] | Array
    words: Array
    blocks: list[Block]
    relocations: list[tuple[int, int, int]]
    places: Array = field(default_factory=lambda: _NOTHING)
    table: Array = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    threads: int = 0
    cuts: Array = field(default_factory=lambda: _NOTHING)
    waves: Array = field(default_factory=lambda: _NOTHING)
    chains: Array = field(default_factory=lambda: _NOTHING)

    def message(self) -> bytes:
        counts = (
            len(self.blocks), len(self.names), self.words.size, len(self.places), len(self.table),
            len(self.relocations), self.threads, self.words.shape[-1], len(self.waves), len(self.chains),
        )  # fmt: skip
        parts = [struct.pack("=10q", *counts), *(name.encode().ljust(64, b"\0") for name in self.names)]
        for numbers in (self.starts, self.words, self.places, self.table, self.relocations):
            parts.append(np.asarray(numbers, np.int64).tobytes())
        parts += [self.cuts.tobytes(), self.waves.tobytes(), self.chains.tobytes()]
        for block in self.blocks:
            parts.append(struct.pack("=4q", block.lead, block.rows, block.row_bytes, block.stride))
            parts.append(block.content.tobytes())
        return b"".join(parts)


# One kernel on arrays of its own.


@dataclass(frozen=True)
class Setting:
    """How a kernel is called: the same operation may be given its arrays in many ways.

    by_outputs   weights and their gradients are stored [out][in], else [in][out]
    padding      the byte that fills what lies behind the rows and may be touched
    in_place     the array that is written and the one, read, that it may be are one
    seed         of what is drawn: how far each array is from an aligned address, and rows from one another
    """

    level: str
    by_outputs: bool = True
    padding: int = 0
    in_place: bool = False
    seed: int = 0


def exchanged(entry: Operation, by_outputs: bool) -> set[str]:
    """Names of the arrays that lie with their first axis contiguous."""
    if entry.name == "dense_backward_weight":
        return {"x"} if by_outputs else {"dweight", "dy"}
    return set() if by_outputs else {"weight"}


def block_for(entry: Operation, array: ArrayOperand, value: Array, transposed: bool, setting: Setting) -> Block:
    """Room for an array and for no more than its declaration promises behind it."""
    generator = np.random.default_rng([setting.seed, *array.name.encode()])
    lead, gap = int(generator.integers(0, 16)), int(generator.integers(4, 20))
    shape = (value.T if transposed else value).shape
    rows, columns = shape if len(shape) == 2 else (1, *shape)
    lanes = LEVELS[setting.level] // value.itemsize
    if entry.padding != "none" and array.axes != ("1",):
        columns = -(-columns // lanes) * lanes
        rows = -(-rows // lanes) * lanes if entry.padding == "blocks" else rows
    item = value.itemsize
    return Block.of(rows, columns * item, lead * item, gap * item, setting.padding)


def view_of(block: Block, value: Array, transposed: bool) -> Array:
    """The array's numbers in its block."""
    shape = (value.T if transposed else value).shape
    strides = (block.stride, value.itemsize)[-len(shape) :]
    view: Array = np.ndarray(shape, value.dtype, block.content.data, block.lead, strides)
    return view.T if transposed else view


@dataclass
class Laid:
    """The arrays of one call in blocks of their own; `owner` says by name in which."""

    entry: Operation
    blocks: list[Block]
    views: dict[str, Array | None]
    owner: dict[str, int]
    words: Array

    @property
    def relocations(self) -> list[tuple[int, int, int]]:
        places = self.entry.words
        return [(places[name], index, self.blocks[index].lead) for name, index in self.owner.items()]

    def written(self) -> dict[str, Array]:
        """By name, what the arrays that the operation writes hold now."""
        views = {array.name: self.views[array.name] for array in self.entry.arrays if array.access != "reads"}
        return {name: view for name, view in views.items() if view is not None}


def lay_out(entry: Operation, setting: Setting, arguments: Mapping[str, Any]) -> Laid:
    """Copies of the arrays, as the setting says."""
    read = entry.in_place[1] if setting.in_place and entry.in_place else None
    swapped = exchanged(entry, setting.by_outputs)
    blocks, views, owner = [], dict[str, Array | None](), dict[str, int]()
    for array in entry.arrays:
        value = arguments[array.name]
        if value is None or array.name == read:
            continue
        block = block_for(entry, array, value, array.name in swapped, setting)
        view = view_of(block, value, array.name in swapped)
        view[...] = value
        owner[array.name], views[array.name] = len(blocks), view
        blocks.append(block)
    if read is not None and entry.in_place is not None:
        one = views[entry.in_place[0]]
        views[read], owner[read] = one, owner[entry.in_place[0]]
        one[...] = arguments[read]  # type: ignore[index]
    return Laid(entry, blocks, views, owner, argument_words(entry, {**arguments, **views}))


def run_kernel(program: Program, symbol: str, laid: Laid) -> dict[str, Array]:
    """Runs a kernel and returns what it wrote, by name.

    An AssertionError if it touched anything but what it is declared to write, and the padding of that.
    """
    entry, before = laid.entry, [block.content.copy() for block in laid.blocks]
    program.ask(Request([symbol], [0], laid.words, laid.blocks, laid.relocations))
    written = {laid.owner[name] for name in laid.written()}
    for name, index in laid.owner.items():
        block = laid.blocks[index]
        assert not block.touched(), f"{entry.name} wrote around the rows of {name}"
        same = index in written or np.array_equal(block.content, before[index])
        assert same, f"{entry.name} changed {name} or its padding"
    return laid.written()


# The native loop on a whole training.


class ProgramRunner(TeamRunner):
    """A runner whose loop is that of the program: every arena and every array of the user is a block.

    A test puts it in the place of both native runners; the kernels' addresses and the loop that it is given are not
    used. One thread has the simple loop.
    """

    def __init__(
        self, program: Program, level: str, plan: Plan, arenas: Mapping[str, Array], _: Any, threads: Any,
        workspaces: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(plan, arenas, [0] * len(plan.calls), threads if isinstance(threads, int) else 1, workspaces)
        self.program, self.requests = program, list[Request]()
        self._names = [f"fastnn_{call.operation.name}_{plan.dtype}_{level}" for call in plan.calls]
        self._pointers = [  # words that are addresses
            int(start) + call.operation.words[array.name]
            for start, call in zip(self._starts, plan.calls, strict=True)
            for array in call.operation.arrays
        ]

    def _prepared(self, passes: Passes, table: Table) -> Prepared:
        table.words = table.words + self._offsets
        return _ProgramPasses(self, passes, table)

    def spans(self, passes: Passes) -> list[Span]:
        """All memory that passes may touch."""
        memory = [*self._arenas.values()]
        for column in passes.given.values():
            array = column.array if isinstance(column, Window) else column
            memory += [array] if isinstance(array, np.ndarray) else []
        return list(dict.fromkeys(byte_bounds(array) for array in memory if array.size))

    def request(self, marks: Array | None, words: Array, places: Array, table: Array, spans: list[Span]) -> Request:
        """Some passes; a block for each stretch of memory."""
        waves, chains = _waves(marks, len(table))
        blocks = [Block(0, 1, end - start, 0, _bytes(start, end).copy()) for start, end in spans]
        width = words.shape[1]
        where = [member * width + pointer for member in range(len(words)) for pointer in self._pointers]
        columns = 2 + np.flatnonzero(np.isin(places, self._pointers))
        where += [words.size + row * table.shape[1] + int(c) for row in range(len(table)) for c in columns]
        values = np.concatenate([words.ravel(), table.ravel()])
        relocations = []
        for place in where:
            address = int(values[place])
            block = next((n for n, (start, end) in enumerate(spans) if start <= address < end), None)
            if block is not None:  # 0, or what belongs to calls that are not run
                relocations.append((place, block, address - spans[block][0]))
        request = Request(self._names, self._starts, words, blocks, relocations, places, table)
        if self._threads > 1:
            request.threads, request.cuts, request.waves, request.chains = self._threads, self._cuts, waves, chains
        self.requests.append(request)
        return request


class _ProgramPasses(NamedTuple):
    runner: ProgramRunner
    passes: Passes
    table: Table

    def run(self, first: int, count: int) -> None:
        own, (words, places, rows) = slice(first, first + count), (self.table.words, self.table.places, self.table.rows)
        marks, spans = self.passes.marks, self.runner.spans(self.passes)
        request = self.runner.request(None if marks is None else marks[own], words, places, rows[own], spans)
        self.runner.program.ask(request)
        for block, (start, end) in zip(request.blocks, spans, strict=True):
            now = _bytes(start, end)
            changed = block.content != now
            now[changed] = block.content[changed]

    def refill(self, given: Mapping[str, Column]) -> None:
        self.table.refill(self.passes.given, given)


def _bytes(start: int, end: int) -> Array:
    """Memory as it is, not a copy."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * (end - start)).from_address(start))
