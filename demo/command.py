"""What every command of `xnect` has: an exit status, problems told at once, help with examples."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

OK, USER_ERROR, INTERRUPTED = 0, 2, 130


class Problems:
    """Says at once what is wrong with one of many inputs, and remembers that something was."""

    def __init__(self) -> None:
        self.status = OK

    def tell(self, sentence: str) -> None:
        """One sentence for the user."""
        print(f"xnect: {sentence}", file=sys.stderr)
        self.status = USER_ERROR


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], help_text: str,
    examples: str,
) -> argparse.ArgumentParser:  # fmt: skip
    """One more command, whose help ends with its examples."""
    made: argparse.ArgumentParser = commands.add_parser(
        name, help=help_text, description=help_text[0].upper() + help_text[1:] + ".",
        epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    made.set_defaults(run=run)
    return made
