"""What a build of the C kernels leaves in the package: the library, or the reason why there is none.

The build (kernels/build.py, which loads this file by its path) and `native` share it; it imports nothing of the
package.
"""

import hashlib
from pathlib import Path

REASON = "_native_missing.txt"
"""Beside this file, where the last build failed: why in one line, then the compiler's words."""


def reason() -> tuple[str, list[str]]:
    """Why the last build made no library, in one line, and what the compiler said; ("", []) if no failure is known."""
    try:
        first, *words = Path(__file__).with_name(REASON).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return "", []
    return first, words


def source_hash(folder: Path) -> str:
    """A hash of all that a library is built from, in the folder `kernels`: a library carries that of its sources."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted([*folder.glob("**/*.c"), *folder.glob("**/*.h"), folder / "build.py"]):
        # Line ends may be another system's.
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()
