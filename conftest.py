"""What pytest needs before it looks for tests: `pytest --benchmark` (bench/suite.py)."""

pytest_plugins = ("bench.suite",)
