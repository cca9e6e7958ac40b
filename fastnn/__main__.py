"""`python -m fastnn`, and the `fastnn` command: see `fastnn.cli`."""

import sys


def main() -> int:
    """Runs one command; returns the exit code. Ctrl-C is heard while modules are still being imported, too."""
    try:
        from fastnn.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("fastnn: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
