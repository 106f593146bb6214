"""Put the commands' real help texts into cli.md, each between its markers. Run it after changing an option."""
# ruff: noqa: INP001  a script

import contextlib
import io
import os
import re
from pathlib import Path

from llm_api_client.cli import main

PAGE = Path(__file__).parent / "cli.md"
_MARKED = re.compile(r"(<!-- help:(?P<command>[a-z ]*)-->\n).*?(<!-- end of help -->)", re.DOTALL)


def help_text(command: str) -> str:
    """What `llm-api-client COMMAND --help` prints on a terminal of 80 columns; the program's own for no command."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "80"
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            main([*command.split(), "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    return printed.getvalue()


def embedded(page: str) -> str:
    """The page with every help text as it is now."""
    return _MARKED.sub(lambda found: f"{found[1]}```text\n{help_text(found['command'])}```\n{found[3]}", page)


if __name__ == "__main__":
    PAGE.write_text(embedded(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
