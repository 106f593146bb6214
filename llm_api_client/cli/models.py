"""`llm-api-client models`: which providers and models there are, and what they cost."""

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from llm_api_client.cli.parser import COLUMNS, PROGRAM, Commands, UsageError, add_command
from llm_api_client.errors import InvalidInputError

if TYPE_CHECKING:
    from llm_api_client.catalog import Catalog, ModelInfo

NAME = f"{PROGRAM} models"

Row = tuple[str, ...]

_HEAD: Row = ("model", "context", "output", "$/M in", "$/M out")

_DESCRIPTION = """\
Tell which models there are, as requests name them: the most tokens of prompt
and answer together, the most of the answer, and US dollars for a million tokens
of prompt and of answer. What LiteLLM's table does not say is a dash.

Without PROVIDER and --search: the providers, and how many models each has.

Nothing is sent: it needs no key and no network."""
_EPILOG = f"""\
examples:
  {NAME}
  {NAME} anthropic
  {NAME} --search "claude sonnet" --mode chat
  {NAME} openai --mode embedding --json

exit status:
  0 some were found; 1 none was; 2 wrong usage, or nobody knows the provider or
  the mode."""


def add_to(commands: Commands) -> None:
    """Add the command with all its options."""
    command = add_command(commands, "models", "list models and their prices", _DESCRIPTION, _EPILOG)
    command.set_defaults(execute=execute, command="models")
    command.add_argument(
        "provider", nargs="?", metavar="PROVIDER", help="list the models of this one, as LiteLLM calls it"
    )
    command.add_argument(
        "--search",
        metavar="TEXT",
        help="only models with each of these words in their names, in upper or lower case (default: all)",
    )
    command.add_argument(
        "--mode",
        metavar="MODE",
        help="only models for this: chat, embedding, image_generation, ... (default: all)",
    )
    command.add_argument("--json", action="store_true", help="print JSON, with all that is known (default: a table)")


def execute(options: argparse.Namespace) -> int:
    """Do it.

    Raises:
        UsageError: There is no such provider or mode.
    """
    # This imports LiteLLM, which takes a second or two.
    from llm_api_client.call.litellm_door import Table  # noqa: PLC0415
    from llm_api_client.catalog import Catalog  # noqa: PLC0415

    catalog = Catalog(Table())
    try:
        if options.provider is None and options.search is None:
            return _show_providers(catalog, options)
        return _show_models(catalog, options)
    except InvalidInputError as error:
        raise UsageError(str(error)) from error


def _show_providers(catalog: "Catalog", options: argparse.Namespace) -> int:
    counts = catalog.counts(options.mode)
    if options.json:
        _print(_as_json({"provider": provider, "models": number} for provider, number in counts.items()))
    else:
        rows = [(provider, f"{number:,}") for provider, number in counts.items()]
        found = f"{_number(len(counts), 'provider')}, {_number(sum(counts.values()), 'model')}."
        _print([*_table(("provider", "models"), rows), "", f"{found} For one's: {NAME} PROVIDER"])
    return 0 if counts else 1


def _show_models(catalog: "Catalog", options: argparse.Namespace) -> int:
    words = (options.search or "").lower().split()
    names = catalog.models(options.provider, mode=options.mode)
    infos = catalog.infos(name for name in names if all(word in name.lower() for word in words))
    found = f"{_number(len(infos), 'model')}."
    if options.json:
        _print(_as_json(info.to_dict() for info in infos))
    elif infos:
        _print([*_table(_HEAD, list(map(_row, infos))), "", found])
    else:
        _print([found])
    return 0 if infos else 1


def _row(info: "ModelInfo") -> Row:
    from llm_api_client.catalog import dollars, tokens  # noqa: PLC0415  only where it is there already

    sizes = tokens(info.context_window), tokens(info.max_output_tokens)
    return (info.model, *sizes, dollars(info.input_cost_per_million), dollars(info.output_cost_per_million))


def _table(head: Row, rows: Sequence[Row]) -> Iterator[str]:
    """Rows under their heads. A name too long for its column stands on a line of its own: it is there to be copied."""
    longest, *widths = (max(map(len, column)) for column in zip(head, *rows, strict=True))
    left = min(longest, COLUMNS - sum(widths) - 2 * len(widths))
    for name, *figures in (head, *rows):
        text = "  ".join(f"{figure:>{width}}" for figure, width in zip(figures, widths, strict=True))
        if len(name) > left:
            yield name
        yield f"{name if len(name) <= left else '':<{left}}  {text}"


def _as_json(items: Iterable[dict[str, Any]]) -> list[str]:
    return [json.dumps(list(items), indent=2)]


def _number(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _print(lines: Iterable[str]) -> None:
    with suppress(BrokenPipeError):  # whoever reads has seen enough, such as `head`
        print("\n".join(lines))  # noqa: T201
