"""`llm-api-client estimate`: what a file of requests would cost and take, before anything is sent."""

import argparse
import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from llm_api_client.cli.inputs import STANDARD
from llm_api_client.cli.parser import PROGRAM, Commands, add_command, whole
from llm_api_client.cli.sources import add_model, add_prompts, add_rates, checked_url, items_of, source_of
from llm_api_client.cli.summary import library_messages, report_lines
from llm_api_client.record.batch_file import Entry, Fault

if TYPE_CHECKING:
    from llm_api_client.run.estimate import Estimate

NAME = f"{PROGRAM} estimate"

_DESCRIPTION = """\
Tell what a file of requests would cost, how many tokens it has, how long the
limits alone would hold it up, and which requests could not be sent, would be
cut, or would lose a parameter. Nothing is sent: it needs no key and no network.

The input is that of "run": requests or lines of OpenAI's Batch API as JSON, or
plain prompts. How long the answers will be is not known. Costs and times thus
have a least, for answers of one token, and a most, for answers as long as
max_tokens allows, or as long as --answer-tokens says where there is none.

Retries are left out, and so are discounts, such as those for cached prompts."""
_EPILOG = f"""\
examples:
  {NAME} requests.jsonl
  {NAME} requests.jsonl --rpm 500 --tpm 200000 --json
  {NAME} --prompts q.jsonl --prompt-field question \\
      --model gpt-4o-mini --param max_tokens=200
  {NAME} --prompts prompts.txt --model gpt-4o-mini \\
      --answer-tokens 100

exit status:
  0 all could be sent; 1 some could not, or lines were no requests; 2 wrong
  usage."""


def add_to(commands: Commands) -> None:
    """Add the command with all its options."""
    command = add_command(commands, "estimate", "tell what a file would cost", _DESCRIPTION, _EPILOG)
    command.set_defaults(execute=execute, command="estimate")
    command.add_argument(
        "requests", nargs="?", metavar="REQUESTS", help="file of requests, JSON lines; - for standard input"
    )
    command.add_argument("--json", action="store_true", help="print JSON (default: text)")
    command.add_argument(
        "--answer-tokens",
        type=whole,
        default=500,
        metavar="N",
        help="longest answer, in tokens, of requests that set no max_tokens (default: %(default)s, or the model's most "
        "if that is less)",
    )
    add_prompts(command)
    add_rates(command.add_argument_group("limits"))
    _add_provider(command)


def _add_provider(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("provider")
    add_model(group)
    group.add_argument(
        "--base-url",
        metavar="URL",
        help="server that would be asked, such as http://localhost:8000/v1; it is not (default: the provider's own)",
    )
    group.add_argument(
        "--no-sanitize",
        dest="sanitize",
        action="store_false",
        help="take requests as they are (default: as if parameters that the model does not take were dropped, and "
        "messages truncated to its context)",
    )


def execute(options: argparse.Namespace) -> int:
    """Do it.

    Raises:
        UsageError: Something has to be put right first.
    """
    source = source_of(options)
    base_url = checked_url(options.base_url)
    reading = _Reading(items_of(options, source))
    with library_messages(NAME):
        # This imports LiteLLM, which takes a second or two.
        from llm_api_client.api_client import APIClient  # noqa: PLC0415

        with APIClient(options.rpm, options.tpm, base_url=base_url) as client:
            told = client.estimate(reading.requests(), sanitize=options.sanitize, answer_tokens=options.answer_tokens)
    shown = "standard input" if source == STANDARD else source
    report_lines(NAME, shown, [(fault.line, fault.message) for fault in reading.faults])
    if options.json:
        print(json.dumps(_as_data(told, reading), indent=2))  # noqa: T201
    else:
        print(told.report(lambda index: f"line {reading.lines[index]}"))  # noqa: T201
        if reading.faults:
            print(f"Lines that are no requests: {len(reading.faults):,}.")  # noqa: T201
    return 1 if reading.faults or told.refused else 0


class _Reading:
    """A file's requests one by one, none of which is kept, and what is to be said of its lines."""

    def __init__(self, items: Iterable[Entry | Fault]) -> None:
        self._items = items
        self.lines: list[int] = []
        self.faults: list[Fault] = []

    def requests(self) -> Iterator[dict[str, Any]]:
        """The requests; meanwhile `lines`, the number of each one's line, and `faults` grow."""
        for item in self._items:
            if isinstance(item, Fault):
                self.faults.append(item)
            else:
                self.lines.append(item.line)
                yield item.request


def _as_data(told: "Estimate", reading: _Reading) -> dict[str, Any]:
    """The estimate as plain data, where requests are named by their lines."""
    data = told.to_dict()
    for item in (*data["refusals"], *data["cuts"]):
        item["line"] = reading.lines[item.pop("index")]
    data["no_requests"] = [{"line": fault.line, "message": fault.message} for fault in reading.faults]
    return data
