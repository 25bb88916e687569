"""Documents that are written from the code, and checked against it."""

import argparse
from pathlib import Path

from core.commands.command import Parser
from core.errors import ConfigError, storage_error


def settle(path: Path, text: str, is_to_write: bool, source: str) -> int:
    """Write the document, or see that it is already so. Raises ConfigError if it is not what `source` says."""
    if is_to_write:
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise storage_error(error, path) from error
    elif read(path) != text:
        raise ConfigError(f"{path.name} is not what {source} says; run this with --write")
    return 0


def read(path: Path) -> str:
    """The document as it is, nothing if it is not there."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise storage_error(error, path) from error


def parser_of(description: str | None, examples: str) -> argparse.ArgumentParser:
    """The options of a command that writes a document."""
    made = Parser(description=description, epilog=examples)
    what = made.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="say whether it is up to date (exit code 2: it is not)")
    what.add_argument("--write", action="store_true", help="write it anew")
    return made
