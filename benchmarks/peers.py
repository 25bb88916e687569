"""What we are measured beside: each peer as a command line, told where the same archive is served.

A peer that is not installed is left out, and said. None of them is a dependency; `pip install pycurl aiohttp` and a
package manager's `aria2` bring the ones that have rows of their own, and `--bhds` names a Python that has
binance_datatool.
"""

import shutil
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

Commands = Callable[[Path], list[list[str]]]
"""The command lines that download everything into a folder, one after the other."""

HTTPX = """
import asyncio, hashlib, os, sys
import httpx
url, folder, workers = sys.argv[1], sys.argv[2], int(sys.argv[4])
keys = open(sys.argv[3]).read().split()
async def main():
    limits = httpx.Limits(max_connections=workers, max_keepalive_connections=workers)
    todo = iter(keys)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:
        async def work():
            for key in todo:
                body = (await client.get(f"{url}/{key}")).content
                said = (await client.get(f"{url}/{key}.CHECKSUM")).text.split()[0]
                assert hashlib.sha256(body).hexdigest() == said
                target = os.path.join(folder, key)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target + ".part", "wb") as stream:
                    stream.write(body)
                os.replace(target + ".part", target)
        await asyncio.gather(*(work() for _ in range(workers)))
asyncio.run(main())
"""

PYCURL = """
import hashlib, os, sys, threading
import pycurl
url, folder = sys.argv[1], sys.argv[2]
keys = open(sys.argv[3]).read().split()
def fetch(key):
    curl, digest = pycurl.Curl(), hashlib.sha256()
    target = os.path.join(folder, os.path.basename(key))
    with open(target, "wb", buffering=0) as stream:
        def take(data):
            digest.update(data)
            stream.write(data)
        curl.setopt(pycurl.URL, f"{url}/{key}")
        curl.setopt(pycurl.BUFFERSIZE, 512 * 1024)
        curl.setopt(pycurl.WRITEFUNCTION, take)
        curl.perform()
    print(digest.hexdigest(), key)
os.makedirs(folder, exist_ok=True)
threads = [threading.Thread(target=fetch, args=(key,)) for key in keys]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""

BHDS = """
import sys
import binance_datatool.common as common
common.S3_LISTING_PREFIX = common.S3_DOWNLOAD_PREFIX = sys.argv.pop(1)
from binance_datatool.cli import app
app()
"""

VERIFY = "cd {folder} && find . -name '*.CHECKSUM' -execdir sha256sum --status -c {{}} +"


def aria2(url: str, keys: Sequence[str], *, at_once: int = 16, splits: int = 1, checksums: bool = True) -> Commands:
    """aria2c with a list of URLs, given to it for nothing, then a pass of `sha256sum`."""

    def commands(folder: Path) -> list[list[str]]:
        folder.mkdir(parents=True)
        names = [name for key in keys for name in ((key, f"{key}.CHECKSUM") if checksums else (key,))]
        wanted = folder.with_name("aria2.list")
        wanted.write_text("".join(f"{url}/{name}\n out={name}\n" for name in names))
        options = [f"-j{at_once}", f"-x{splits}", f"-s{splits}", "--file-allocation=none", "--summary-interval=0", "-q"]
        fetch = ["aria2c", *options, "-k1M", "-d", str(folder), "-i", str(wanted)]
        verify = VERIFY.format(folder=folder) if checksums else f"cd {folder} && find . -type f | xargs sha256sum"
        return [fetch, ["sh", "-c", verify]]

    return commands


def httpx_client(url: str, keys: Sequence[str], workers: int) -> Commands:
    """httpx.AsyncClient as it comes, with the `.CHECKSUM` of every archive."""
    return _script(HTTPX, url, keys, str(workers))


def pycurl_threads(url: str, keys: Sequence[str]) -> Commands:
    """A thread and a connection for each file, the digest computed as it comes."""
    return _script(PYCURL, url, keys)


def binance_datatool(python: Path, url: str, symbols: Sequence[str]) -> Commands:
    """List and download by aria2, then the separate command that verifies."""

    def commands(folder: Path) -> list[list[str]]:
        folder.mkdir(parents=True)
        script = [str(python), "-c", BHDS, url, "--archive-home", str(folder)]
        what = ["um", *symbols, "--freq", "monthly", "--type", "klines", "--interval", "1h"]
        return [[*script, "download", *what], [*script, "verify", *what]]

    return commands


def missing(name: str) -> bool:
    """Whether a peer is not here."""
    return shutil.which(name) is None and find_spec(name) is None


def _script(source: str, url: str, keys: Sequence[str], *more: str) -> Commands:
    def commands(folder: Path) -> list[list[str]]:
        folder.mkdir(parents=True)
        wanted = folder.with_name("keys.list")
        wanted.write_text("\n".join(keys))
        return [[sys.executable, "-c", source, url, str(folder), str(wanted), *more]]

    return commands
