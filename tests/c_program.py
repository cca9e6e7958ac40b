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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from fastnn.kernels import Operation
from fastnn.kernels.table import ArrayOperand, argument_words
from fastnn.plan.plan import Plan
from fastnn.plan.runner import NativeRunner, Passes, Prepared, Window

Array = np.ndarray[Any, Any]

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


def sanitized() -> bool:
    """Whether AddressSanitizer and UBSan are in the program."""
    return any("address,undefined" in flag for flag in flags())


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
    units = [*rules["units"](), *sorted((HERE / "c").glob("*.c"))]
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
        environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
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


@dataclass
class Request:
    """Kernels by name, their words one after the other, and where addresses of blocks are to be entered.

    places, table   as fastnn_run takes them; None: each kernel is called once, by fastnn_call
    relocations     (where, block, offset): the place among the words, or behind them in the table; which block; where
                    in it
    """

    names: list[str]
    starts: list[int]
    words: Array
    blocks: list[Block]
    relocations: list[tuple[int, int, int]]
    places: Array | None = None
    table: Array | None = None

    def message(self) -> bytes:
        places = np.zeros(0, np.int64) if self.places is None else self.places
        table = np.zeros((0, 2), np.int64) if self.table is None else self.table
        counts = (
            len(self.blocks), len(self.names), len(self.words), len(places), len(table), len(self.relocations),
        )  # fmt: skip
        parts = [struct.pack("=6q", *counts), *(name.encode().ljust(64, b"\0") for name in self.names)]
        for numbers in (self.starts, self.words, places, table, self.relocations):
            parts.append(np.asarray(numbers, np.int64).tobytes())
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


class ProgramRunner(NativeRunner):
    """A runner whose loop is that of the program: every arena and every array of the user is a block.

    A test puts it in the place of `NativeRunner`; the kernels' addresses and the loop that it is given are not used.
    """

    def __init__(self, program: Program, level: str, plan: Plan, arenas: Mapping[str, Array], *_: Any) -> None:
        self._plan, self._program, self.passes_run = plan, program, 0
        self._names = [f"fastnn_{call.operation.name}_{plan.dtype}_{level}" for call in plan.calls]
        self._starts_of = np.cumsum([0, *(call.operation.words[""] for call in plan.calls)])
        # Words that are addresses.
        self._pointers = [
            int(start) + call.operation.words[array.name]
            for start, call in zip(self._starts_of, plan.calls, strict=False)
            for array in call.operation.arrays
        ]
        self._memory = list(arenas.values())
        super().__init__(plan, arenas, [0] * len(plan.calls), self._run_in_program)

    def prepare(self, passes: Passes) -> Prepared:
        for column in passes.given.values():
            array = column.array if isinstance(column, Window) else column
            if isinstance(array, np.ndarray) and not any(array is known for known in self._memory):
                self._memory.append(array)
        return super().prepare(passes)

    def _run_in_program(
        self, words: int, kernels: int, starts: int, places: int, columns: int, table: int, passes: int
    ) -> None:  # fmt: skip
        given = _integers(words, int(self._starts_of[-1]))
        own_places, own_table = _integers(places, columns), _integers(table, passes * (2 + columns))
        spans = [byte_bounds(array) for array in self._memory]
        blocks = [Block(0, 1, end - start, 0, _bytes(start, end).copy()) for start, end in spans]
        where = [*self._pointers]  # and in the table: the columns that go to such words
        pointing = 2 + np.flatnonzero(np.isin(own_places, self._pointers))
        where += [len(given) + row * (2 + columns) + int(c) for row in range(passes) for c in pointing]
        relocations = []
        for place in where:
            address = int(given[place] if place < len(given) else own_table[place - len(given)])
            found = [n for n, (start, end) in enumerate(spans) if start <= address < end]
            if found:
                relocations.append((place, found[0], address - spans[found[0]][0]))
        self._program.ask(
            Request(
                self._names, [*self._starts_of[:-1]], given, blocks, relocations, own_places,
                own_table.reshape(passes, 2 + columns),
            )
        )  # fmt: skip
        for block, (start, end) in zip(blocks, spans, strict=True):
            now = _bytes(start, end)
            now[block.content != now] = block.content[block.content != now]
        self.passes_run += passes


def _bytes(start: int, end: int) -> Array:
    """Memory as it is, not a copy."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * (end - start)).from_address(start))


def _integers(address: int, count: int) -> Array:
    if not count:
        return np.zeros(0, np.int64)
    return np.ctypeslib.as_array((ctypes.c_int64 * count).from_address(address)).copy()
