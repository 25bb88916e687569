"""The picture of eda-report.md: `python docs/eda_picture.py` makes a report of the demo's market and takes it.

With --data-dir, of what is stored there. It needs a Chromium (TAPEVAULT_CHROMIUM names one).
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from core.commands.eda_report import main as make_report

TARGET: Final = Path(__file__).resolve().with_name("pictures") / "eda-report.png"
_WINDOW: Final = (1240, 1000)
_COLOURS: Final = 128
_ARGUMENTS: Final = ("--headless", "--no-sandbox", "--disable-gpu")


def take(browser: Browser, report: Path, target: Path) -> None:
    """The top of a report as a browser shows it."""
    width, height = _WINDOW
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
    page.goto((report / "index.html").absolute().as_uri())
    page.wait_for_function("document.documentElement.dataset.drawn >= 1")
    picture = BytesIO(page.screenshot())
    page.close()
    with Image.open(picture) as image:
        image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)


@contextmanager
def _demo() -> Iterator[Path]:
    import cookbook  # beside this script

    with tempfile.TemporaryDirectory() as folder, cookbook.exchange(Path(folder, "archive")) as source:
        cookbook.prepare(source, Path(folder, "data"))
        yield Path(folder, "data")


def _picture(data: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "report")
        make_report(["--symbol", "BTCUSDT", "--out", str(out), "--data-dir", str(data), "--quiet", "--models", "none"])
        path = os.environ.get("TAPEVAULT_CHROMIUM") or shutil.which("chromium")
        with sync_playwright() as playwright:
            started = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
            take(started, out, TARGET)
            started.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path)
    chosen = parser.parse_args().data_dir
    if chosen is not None:
        _picture(chosen)
    else:
        with _demo() as data:
            _picture(data)
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")
