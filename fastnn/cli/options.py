"""The arguments of the commands: types whose errors are one line, and the flags that several commands share."""

import argparse
from typing import Any

from fastnn.preprocessing import SCALINGS

# Not He's, the choice of Dense for ReLU: tables often have few columns, for which He's first weights are so large that
# small sets are learnt by heart. He -> Xavier, means of 10 seeds: iris .887 -> .940, diabetes RMSE 58.1 -> 55.0; of 3
# seeds: California housing 51,900 -> 50,600. Digits, wine, breast cancer, Adult, MNIST: less than their noise.
_INIT = "xavier_uniform"


def add_reading_arguments(parser: Any) -> None:
    """What `train` and `predict` have in common."""
    header = parser.add_mutually_exclusive_group()
    header.add_argument("--header", action="store_true", default=None, help="the first line of the table holds names")
    header.add_argument("--no-header", action="store_false", dest="header", help="it does not")
    parser.add_argument("--delimiter", type=delimiter, metavar="D", help="between the cells of a table (told from it)")
    parser.add_argument(
        "--missing",
        action="append",
        default=[],
        metavar="TEXT",
        help="a cell that means missing, besides empty, NA, ? ...",
    )
    parser.add_argument("--features", metavar="NAME", help="the array of features in an .npz file (X, x, data ...)")
    parser.add_argument("--labels", metavar="FILE", help="the labels of an IDX file")


def add_data_arguments(reading: Any) -> None:
    """What data `train` takes, and how it reads, splits and encodes them."""
    reading.add_argument("--target", help="what to predict: a column's name or number (from 0; -1 is the last)")
    reading.add_argument("--task", choices=("classify", "regress"), help="instead of the one told from the target")
    reading.add_argument("--drop", type=names, default=(), metavar="COLUMNS", help="to leave out: a,b,c")
    add_reading_arguments(reading)
    reading.add_argument(
        "--validation",
        default="0.2",
        metavar="SHARE|FILE",
        help="share of the rows kept for validation, or a file of its own (default 0.2)",
    )
    reading.add_argument("--max-categories", type=positive, default=100, metavar="N", help="of a text column (100)")
    reading.add_argument(
        "--scale",
        choices=tuple(SCALINGS),
        help="columns of numbers: to deviation 1, to 0..1, by median and quartiles, or not (standard; of images, white "
        "is 1)",
    )
    reading.add_argument(
        "--split-seed",
        type=whole,
        metavar="SEED",
        help="of the split into rows to train on and to validate with (--seed)",
    )


def add_network_arguments(network: Any) -> None:
    """The network that `train` makes."""
    network.add_argument(
        "--hidden",
        type=widths,
        default=(128, 64),
        metavar="WIDTHS",
        help="of the hidden layers, or none (128,64)",
    )
    network.add_argument("--activation", default="relu", help="of the hidden layers (relu)")
    network.add_argument("--init", default=_INIT, metavar="NAME", help=f"weights of the hidden layers ({_INIT})")
    network.add_argument("--batch-norm", action="store_true", help="batch normalisation after each hidden layer")
    network.add_argument("--dropout", type=float, default=0.0, metavar="RATE", help="after each hidden layer (0)")
    network.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="(float32)")


def add_training_arguments(training: Any) -> None:
    """How `train` trains it."""
    training.add_argument("--epochs", type=positive, default=30, help="at most (30)")
    training.add_argument("--batch-size", type=positive, metavar="ROWS", help="(8 to 128, by the data)")
    training.add_argument("--optimizer", default="adam", help="a name that `fastnn optimizers` lists (adam)")
    training.add_argument("--lr", type=float, metavar="RATE", help="learning rate (the optimizer's own default)")
    training.add_argument("--momentum", type=float, help="of sgd (0)")
    training.add_argument("--loss", help="(cross_entropy to classify, mse to regress)")
    training.add_argument(
        "--patience",
        type=whole,
        default=10,
        metavar="EPOCHS",
        help="without a better validation loss; 0: no early stop (10)",
    )
    training.add_argument("--seed", type=whole, default=0, help="of split, weights, order and dropout (0)")
    training.add_argument("--threads", type=positive, default=1, help="(1; see fastnn info)")
    training.add_argument("--backend", default="auto", help="auto, reference, numba or c (auto)")
    training.add_argument("--precision", help="bf16 rounds the operands of products in training (not rounded)")


def names(text: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def whole(text: str) -> int:
    """A whole number from 0."""
    return _integer(text, 0)


def positive(text: str) -> int:
    """A whole number from 1."""
    return _integer(text, 1)


def _integer(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if value < least:
        raise argparse.ArgumentTypeError(f"{value}: must be at least {least}")
    return value


def widths(text: str) -> tuple[int, ...]:
    """Whole numbers from 1 between commas; "none" is none of them."""
    if text.strip().lower() in ("none", "", "0"):
        return ()
    return tuple(_integer(width.strip(), 1) for width in text.split(","))


def delimiter(text: str) -> str:
    """One character, by itself or by name."""
    text = {"tab": "\t", "\\t": "\t", "space": " "}.get(text, text)
    if len(text) != 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be one character, tab or space")
    return text
