"""Small files for the tests of the commands, and a reader of the numbers that commands print."""

import re
import struct

import numpy as np


def number(pattern, text):
    """The number that follows a text."""
    return float(re.search(pattern + r"\s*([-\d.,]+\d)", text)[1].replace(",", ""))


def people(rows=600, seed=0):
    """A table as text: numbers, categories, gaps; the class follows from age and colour."""
    generator = np.random.default_rng(seed)
    lines = ["age,colour,height,rich"]
    for _ in range(rows):
        age, colour = generator.integers(18, 80), generator.choice(["red", "green", "blue"])
        rich = "yes" if age + 20 * (colour == "red") > 55 else "no"
        shown = age if generator.random() > 0.05 else "?"
        lines.append(f"{shown},{colour},{generator.normal(170, 10):.1f},{rich}")
    return "\n".join(lines) + "\n"


def houses(rows=600, seed=0):
    """A regression table: the price is linear in two columns."""
    generator = np.random.default_rng(seed)
    lines = ["rooms,town,price"]
    for _ in range(rows):
        rooms, town = generator.integers(1, 9), generator.choice(["North", "South"])
        lines.append(f"{rooms},{town},{50_000 * rooms + 80_000 * (town == 'South') + generator.normal(0, 5000):.2f}")
    return "\n".join(lines) + "\n"


def write_idx(path, array, pack=bytes):
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(pack(bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes()))
