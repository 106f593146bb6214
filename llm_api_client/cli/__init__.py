"""The command line: `llm-api-client run`, `batch`, `estimate`, `export`, `models`, `simulate` and `demo`.

Nothing slow is imported until a command begins its work, so that help is quick.
"""

import argparse
import gc
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from llm_api_client.cli import batch, demo, estimate, export, models, run, simulate
from llm_api_client.cli.parser import PROGRAM, Parser, UsageError
from llm_api_client.errors import CheckpointError, ConfigurationError

INTERRUPTED = 130
TERMINATED = 143


class _Terminated(KeyboardInterrupt):
    """A scheduler's SIGTERM: it stops a command as a person's Ctrl-C does."""


_DESCRIPTION = """\
Lists of prompts through an API key with limits: concurrent calls to any
provider that LiteLLM knows, never above the limits, every answer kept."""
_EXAMPLES = f"""\
examples:
  {PROGRAM} demo
  {PROGRAM} run requests.jsonl -o responses.jsonl --rpm 500
  {PROGRAM} run --prompts prompts.txt --model gpt-4o-mini -o answers.jsonl
  {PROGRAM} simulate --rpm 600

exit status:
  0 all went well; 1 some requests failed; 2 wrong usage, nothing was sent;
  130 stopped by Ctrl-C; 143 by SIGTERM."""


class _Version(argparse.Action):
    """Looks the version up only when it is asked for, which takes a while."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from llm_api_client import __version__  # noqa: PLC0415

        print(f"{PROGRAM} {__version__}")  # noqa: T201  what was asked for
        parser.exit()


def parser() -> Parser:
    """All commands and options."""
    top = Parser(prog=PROGRAM, description=_DESCRIPTION, epilog=_EXAMPLES)
    top.add_argument("--version", action=_Version, help="print the version and exit")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    for command in (run, batch, estimate, export, models, simulate, demo):
        command.add_to(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return the process's exit status. Never raises for a user's mistake.

    Args:
        argv: Arguments, without the program's name. Default None: the process's own.
    """
    try:
        options = parser().parse_args(argv)
    except SystemExit as end:  # argparse has said why
        return end.code if isinstance(end.code, int) else 2
    try:
        status: int = options.execute(options)
    except (UsageError, ConfigurationError, CheckpointError) as wrong:
        print(f"{PROGRAM} {options.command}: error: {wrong}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt as stop:
        said = stop.args[0] if stop.args else "stopped"
        print(f"\n{PROGRAM} {options.command}: {said}", file=sys.stderr)  # noqa: T201
        return TERMINATED if isinstance(stop, _Terminated) else INTERRUPTED
    return status


def console() -> NoReturn:
    """The program `llm-api-client`: `main`, and what only the owner of a process may do."""
    if sys.argv[1:2] in (["demo"], ["estimate"], ["models"], ["simulate"]):
        # They work without a network; LiteLLM would look for newer prices while it is imported.
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    with suppress(AttributeError, ValueError):
        signal.signal(signal.SIGTERM, _terminate)
    status = main()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Nobody reads any more; the interpreter's own flush at exit must not complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    # The interpreter looks for garbage once more while it ends: among what LiteLLM has imported, for a second.
    gc.freeze()
    sys.exit(status)


def _terminate(*_: object) -> NoReturn:
    raise _Terminated


__all__ = ["console", "main", "parser"]
