"""Machine code of the Numba kernels: made once, kept on disk, loaded by llvmlite alone.

Numba's own cache would need numba itself in every process (0.3 s, 100 MB) and serves a stale caller after an edit in
another file. Here each kernel is one small object file whose name carries a hash of everything that went into it: the
kernel sources, the versions of Numba and llvmlite, the CPU and the vector width. An edit, an upgrade or another machine
is another name. Where no folder can be written the code is kept in memory.
"""

import contextlib
import functools
import hashlib
import os
import sys
import threading
from pathlib import Path
from typing import Any

from . import cpu

_lock = threading.RLock()
_addresses: dict[tuple[str, str], int] = {}
_keep_alive: list[Any] = []  # execution engines own the code behind the addresses
compiled: list[str] = []
"""Names of what this process had to compile, in order; empty with a warm cache."""


@functools.cache
def cache_folder() -> Path | None:
    """Where object files are kept: FASTNN_CACHE_DIR, else the user's cache folder; None if it cannot be written."""
    asked, base = os.environ.get("FASTNN_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME")
    import tempfile

    try:
        folder = Path(asked).expanduser() if asked else Path(base or Path.home() / ".cache") / "fastnn"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return None
    return folder


@functools.cache
def source_hash() -> str:
    """A hash of all that decides the machine code, as this process found it."""
    return _hash_sources()


def _hash_sources() -> str:
    from importlib import metadata  # 20 ms, which a process with the C kernels does not pay

    digest = hashlib.blake2b(digest_size=12)
    here = Path(__file__).parent
    own = [here / name for name in ("table.py", "cpu.py", "objects.py")]
    for path in sorted([*own, *here.glob("numba/*.py"), *here.glob("reference/*.py")]):
        digest.update(path.name.encode() + path.read_bytes())
    features = ",".join(sorted(cpu.features()))
    versions = [metadata.version("numba"), metadata.version("llvmlite"), sys.version.split()[0]]
    digest.update("|".join([*versions, cpu.name(), features, cpu.isa()]).encode())
    return digest.hexdigest()


def address(name: str, dtype: str) -> int:
    """The address of an operation's kernel for "float32" or "float64", loaded or compiled at the first call."""
    found = _addresses.get((name, dtype))
    if found is None:
        with _lock:
            found = _addresses.get((name, dtype)) or _load(name, dtype)
    return found


def symbol(name: str, dtype: str) -> str:
    """The C name of a kernel or routine."""
    return f"fastnn_{name}_{dtype}"


def _load(name: str, dtype: str) -> int:
    needs, code = _cached(name, dtype) or _compile(name, dtype)
    for routine in needs:
        address(routine, dtype)
    found = load_code(code, symbol(name, dtype))
    _llvm().add_symbol(symbol(name, dtype), found)
    _addresses[name, dtype] = found
    return found


def load_code(code: bytes, symbol: str) -> int:
    """The address of a function in object code, which stays as long as the process."""
    with _lock:
        engine = _engine()
        engine.add_object_file(_llvm().ObjectFileRef.from_data(code))
        engine.finalize_object()
        _keep_alive.append(engine)
        return int(engine.get_function_address(symbol))


def _path(name: str, dtype: str) -> Path | None:
    folder = cache_folder()
    # Asking for the matrix unit has effects on the process: only the routine that has a use for it does.
    form = "-amx" if name == "product_bf16" and cpu.has("amx-bf16") else ""
    return None if folder is None else folder / f"{name}{form}-{dtype}-{source_hash()}.o"


def _cached(name: str, dtype: str) -> tuple[tuple[str, ...], bytes] | None:
    """A file is a checksum of the rest, the needed routines, and the object code: three parts, cut at line ends."""
    path = _path(name, dtype)
    try:
        content = path.read_bytes() if path is not None else b""
    except OSError:
        return None
    checksum, _, rest = content.partition(b"\n")
    if _checksum(rest) != checksum:
        return None  # torn or damaged: compiled anew
    needs, _, code = rest.partition(b"\n")
    return tuple(needs.decode().split()), code


def _checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8).hexdigest().encode()


def _compile(name: str, dtype: str) -> tuple[tuple[str, ...], bytes]:
    if not compiled:
        print("fastnn: compiling kernels for the first time on this machine (a few seconds, once)", file=sys.stderr)
    compiled.append(f"{name} {dtype}")
    from . import numba

    code, needs = numba.compile_kernel(name, dtype)
    path = _path(name, dtype)
    if path is not None and _hash_sources() == source_hash():  # not where a kernel was edited in the meantime
        _write(path, " ".join(needs).encode() + b"\n" + code)
    return needs, code


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all; another process may be writing the same file."""
    temporary = path.with_name(f"{path.name}.{os.urandom(8).hex()}")
    try:
        temporary.write_bytes(_checksum(content) + b"\n" + content)
        os.replace(temporary, path)
    except OSError:  # a full disk costs the next process a compilation, no more
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@functools.cache
def _llvm() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


def _engine() -> Any:
    llvm = _llvm()
    machine = llvm.Target.from_default_triple().create_target_machine()
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
