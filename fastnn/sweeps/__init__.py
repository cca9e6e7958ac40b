"""Research sweeps: many small trainings, on one machine and on many."""

from .job import TrialStopped
from .loop import sweep
from .results import ResultsError
from .space import Space, integers, log_uniform, uniform
from .summary import Group, SweepResult, read
from .trials import Trial

__all__ = [
    "Group", "ResultsError", "Space", "SweepResult", "Trial", "TrialStopped", "integers", "log_uniform", "read",
    "sweep", "uniform",
]  # fmt: skip
