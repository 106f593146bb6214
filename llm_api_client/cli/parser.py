"""What all commands share: a parser that teaches in one line, and the kinds of values that options take."""

import argparse
import re
import shutil
from math import isfinite
from typing import Any, NoReturn

PROGRAM = "llm-api-client"
COLUMNS = 80

Commands = Any
"""argparse's subparsers, whose class has no public name."""

Group = Any
"""argparse's groups of options, likewise."""


class UsageError(Exception):
    """Something that the user has to put right before anything can begin; its text is one line."""


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help of at most 80 columns, descriptions and examples as they are written."""

    def __init__(self, prog: str) -> None:
        width = min(shutil.get_terminal_size((COLUMNS, 24)).columns, COLUMNS)
        super().__init__(prog, max_help_position=28, width=width)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line: the usage of thirty options hides the reason above it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, formatter_class=Formatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end with status 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def add_command(commands: Commands, name: str, summary: str, description: str, examples: str) -> Parser:
    """A command's parser, for its options."""
    parser: Parser = commands.add_parser(name, help=summary, description=description, epilog=examples)
    return parser


def whole(text: str) -> int:
    """A whole number above 0."""
    return _whole(text, 1)


def whole_or_zero(text: str) -> int:
    """A whole number of 0 or more."""
    return _whole(text, 0)


def limit(text: str) -> int | None:
    """A whole number above 0; 0 or "none" for no limit."""
    return None if text.lower() == "none" else _whole(text, 0, " or none") or None


def port(text: str) -> int:
    """A port of TCP; 0 for any free one."""
    number = _whole(text, 0)
    if number > 65_535:  # noqa: PLR2004  the largest there is
        raise argparse.ArgumentTypeError("ports end at 65535")
    return number


def seconds(text: str) -> float:
    """Seconds above 0."""
    return _number(text, zero=False, what="a number of seconds above 0")


def seconds_or_zero(text: str) -> float:
    """Seconds of 0 or more."""
    return _number(text, zero=True, what="a number of seconds, 0 or more")


def seconds_or_none(text: str) -> float | None:
    """Seconds of 0 or more; "none" for ever."""
    return None if text.lower() == "none" else _number(text, zero=True, what="a number of seconds, 0 or more, or none")


def dollars(text: str) -> float:
    """US dollars above 0."""
    return _number(text.removeprefix("$"), zero=False, what="a number of US dollars above 0")


def share(text: str) -> float:
    """A share of all, from 0 to 1."""
    number = _number(text, zero=True, what="a share from 0 to 1")
    if number > 1:
        message = f"{text!r} is not a share from 0 to 1; 2 percent are 0.02"
        raise argparse.ArgumentTypeError(message)
    return number


def _whole(text: str, least: int, otherwise: str = "") -> int:
    if not re.fullmatch(r"[0-9][0-9_]{0,17}", text) or int(text.replace("_", "")) < least:
        kind = f"a whole number of {least} or more{otherwise}" if least == 0 else "a whole number above 0"
        message = f"{text!r} is not {kind}"
        raise argparse.ArgumentTypeError(message)
    return int(text.replace("_", ""))


def _number(text: str, *, zero: bool, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not isfinite(number) or number < 0 or (number == 0 and not zero):
        message = f"{text!r} is not {what}"
        raise argparse.ArgumentTypeError(message)
    return number
