"""The loader beside other ways to read the same rows: one run, interleaved, medians, every result proved equal first.

    python benchmarks/loader.py --rounds 7                            all of it; the world is made by the first run
    python benchmarks/loader.py --only one,fifty --rounds 3
    python benchmarks/loader.py --symbols 20 --trades 300000 --dir /dev/shm/small    a quick one

The data are those of `loader_input.py`: 500 symbols with a year of five kinds of data, and 30 million trades.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this file has the name of the package it measures

from loader_main import main

if __name__ == "__main__":
    main()
