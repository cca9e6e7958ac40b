"""Train a network many times, as a file says, and report on all of them; or, with --show, on a results file.

The file is TOML. Its options are those of `fastnn train`; lists are choices, tables are ranges:

  [data]
  source = "digits"                        # DATA of fastnn train; target, validation, scale ... as there
  [space]
  lr = {from = 1e-4, to = 1e-1, log = true}
  hidden = ["64", "128,64"]
  optimizer = ["adam", "rmsprop"]
  seed = [0, 1, 2]                         # repeats of each configuration, reported together
  [fixed]
  epochs = 20
  [sweep]
  search = "random"                        # grid (default), random, sobol, tpe
  trials = 60                              # trainings at most, repeats included
  prune = "asha"                           # or median; left out: none is ended early
  metric = "val_accuracy"                  # val_loss (default), val_rmse, val_r2, loss
  workers = 2                              # trainings at once (one for each core)
  executor = "threads"                     # or processes

and besides seed (of the search), results, resume and plot. Each training that is done is a line of the results file;
--resume goes on with one. Ctrl-C ends a sweep in good order.
"""

import argparse

from fastnn.cli import options as options_
from fastnn.cli.report import carried_out

USAGE = "fastnn sweep FILE.toml [options]\n       fastnn sweep --show RESULTS.jsonl [--plot PICTURE]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `fastnn sweep`."""
    parser.add_argument("file", metavar="FILE", help="what to sweep, see above; with --show a results file")
    parser.add_argument(
        "--show", action="store_true", help="report on a sweep that is done, or at work, from its results"
    )
    parser.add_argument("--dry-run", action="store_true", help="all but the training: how many, and the first of them")
    parser.add_argument("--workers", type=options_.positive, metavar="N", help="trainings at once")
    parser.add_argument("--trials", type=options_.positive, metavar="N", help="trainings at most, repeats included")
    parser.add_argument("--results", metavar="RESULTS", help="(FILE with .jsonl in the place of .toml)")
    parser.add_argument(
        "--resume", action="store_true", default=None, help="go on with the results file, if there is one"
    )
    parser.add_argument("--plot", metavar="PICTURE", help="draw what came of it (.png, .svg or .pdf)")
    parser.add_argument("--quiet", action="store_true", help="print nothing while it trains")


def run(options: argparse.Namespace) -> int:
    """`fastnn sweep`."""
    # What sweeps import is worth 30 ms, which every other command would pay.
    from fastnn.cli import sweeping

    if options.show:
        sweeping.show(options)
        return 0
    return carried_out(lambda: sweeping.sweep(options))
