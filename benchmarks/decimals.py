"""Decimals as text, through both parsers, against Python's `float`: how many come out as another double.

    python benchmarks/decimals.py --count 10000000

Kinds in turn: as prices and quantities are written (up to 9 digits and 8 decimals), up to 19 digits with up to 18
decimals, numbers around 2^53, halves between two doubles, and the shortest text of random doubles from 0.1 to 1e15.
"""

import argparse
import io
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, cast

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from core.datasets import DATASETS
from core.storage.csv_arrow import BLOCK_BYTES, ArrowReader
from core.storage.csv_compiled import CompiledReader
from core.storage.member import MemberStream
from core.types import Market

AT_ONCE: Final = 200_000
COLUMNS: Final = DATASETS["trades"].columns[Market.UM]


def _placed(number: int, decimals: int) -> str:
    text = f"{number:0{decimals + 1}d}"
    return f"{text[:-decimals]}.{text[-decimals:]}" if decimals else text


def _as_published(draw: random.Random) -> str:
    return _placed(draw.randrange(10 ** draw.randint(1, 16)), draw.randint(0, 8))


def _long(draw: random.Random) -> str:
    return _placed(draw.randrange(10 ** draw.randint(1, 19)), draw.randint(0, 18))


def _around_53_bits(draw: random.Random) -> str:
    return _placed(2**53 + draw.randint(-2000, 2000), draw.randint(0, 16))


def _half(draw: random.Random) -> str:
    bits = draw.randint(1, 10)
    return str(((draw.getrandbits(52) | 1 << 52) << 1 | 1) << bits - 1) if draw.random() < 0.5 else f"{2**52 + bits}.5"


def _shortest(draw: random.Random) -> str:
    return np.format_float_positional(10 ** draw.uniform(-1, 15), trim="-")


KINDS: tuple[Callable[[random.Random], str], ...] = (_as_published, _long, _around_53_bits, _half, _shortest)


def compiled(text: bytes) -> pa.Table:
    """By the compiled parser alone: what it left to the other one would end the benchmark."""
    return pa.Table.from_batches(CompiledReader(COLUMNS, AT_ONCE).batches([text]))


def arrow(text: bytes) -> pa.Table:
    return pa.Table.from_batches(ArrowReader(COLUMNS, BLOCK_BYTES, "").batches(cast(MemberStream, io.BytesIO(text)), 0))


def differences(count: int, seed: int) -> Iterator[tuple[str, str, str, float]]:
    """(parser, text, what it should be, what it became) of every decimal that became another double."""
    draw = random.Random(seed)
    for _ in range(0, count, AT_ONCE):
        texts = [KINDS[number % len(KINDS)](draw) for number in range(AT_ONCE)]
        csv = "".join(f"{number},{text},1,1,1704067200000,true\n" for number, text in enumerate(texts)).encode()
        wanted = np.array([float(text) for text in texts])
        for parser in (compiled, arrow):
            found = parser(csv)["price"].to_numpy()
            assert len(found) == len(wanted)
            for place in np.flatnonzero(found.view(np.int64) != wanted.view(np.int64)):
                yield parser.__name__, texts[place], repr(wanted[place]), found[place]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--count", type=int, default=10_000_000)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    began, wrong = time.monotonic(), {"compiled": 0, "arrow": 0}
    for parser, text, wanted, found in differences(given.count, given.seed):
        wrong[parser] += 1
        print(f"{parser}: {text} should be {wanted} and is {found!r}")
    print(f"{given.count:,} decimals, other than Python's: {wrong} ({time.monotonic() - began:.0f} s)")
    raise SystemExit(any(wrong.values()))


if __name__ == "__main__":
    main()
