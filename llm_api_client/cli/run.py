"""`llm-api-client run`: a file of requests in, a file of answers out."""

import argparse
import os
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llm_api_client.cli import parser as kinds
from llm_api_client.cli.inputs import STANDARD, number_of_lines
from llm_api_client.cli.outputs import Lines, OrderedLines, OutputError, check_output, opened_output
from llm_api_client.cli.parser import PROGRAM, Commands, UsageError, add_command
from llm_api_client.cli.perform import Performance
from llm_api_client.cli.sources import add_model, add_prompts, add_rates, checked_url, items_of, source_of
from llm_api_client.cli.summary import Remarks, Tally, library_messages, say
from llm_api_client.errors import CheckpointError
from llm_api_client.record.batch_file import Entry, Fault

if TYPE_CHECKING:
    from llm_api_client.api_client import APIClient

NAME = f"{PROGRAM} run"
NO_KEY = "none"

_DESCRIPTION = """\
Send every request of a file within the limits, and write the answers.

Each line of the input is a JSON object, a request or a line of OpenAI's Batch
API, freely mixed; blank lines are skipped:

  {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
  {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions",
   "body": {"model": ..., "messages": [...]}}          (all of it on one line)

The output has one line for each, in the same order, in the format of OpenAI's
Batch API:

  {"id": ..., "custom_id": "a", "error": null,
   "response": {"status_code": 200, "request_id": ..., "body": {...}}}

A request without an answer has the reason in its "error", as a code and a
message; "response" is then null, or the HTTP error that the provider answered
with. A line that is no request is reported with its number and spoils nothing
else. Lines are written as soon as all before them are done.

Answers are kept in a checkpoint beside the output (FILE.db): the same command
run again after a stop, or with further requests, asks only what has no answer
yet, and writes the output anew."""
_EPILOG = f"""\
keys:
  Keys come from the environment, under the names that LiteLLM knows
  (OPENAI_API_KEY, ANTHROPIC_API_KEY, ...), or from the variable that
  --api-key-env names. There is no --api-key: it would show in the list of
  processes and in the shell's history. A server on this machine (--base-url)
  often wants no key: where there is none, requests to it for openai/... models
  carry the key "{NO_KEY}".

network:
  While it is imported, LiteLLM looks for newer prices on GitHub. Set
  LITELLM_LOCAL_MODEL_COST_MAP=True where that cannot be reached.

examples:
  {NAME} requests.jsonl -o responses.jsonl --rpm 500 --tpm 200000
  {NAME} --prompts prompts.txt -o answers.jsonl \\
      --model gpt-4o-mini --system "Answer in one word." --param temperature=0
  {NAME} --prompts q.jsonl --prompt-field question \\
      --model gpt-4o-mini -o answers.jsonl
  {NAME} requests.jsonl -o out.jsonl --model openai/llama-3 \\
      --base-url http://localhost:8000/v1
  zcat requests.gz | {NAME} - -o - | gzip > responses.gz

exit status:
  0 all answered; 1 some failed, or lines were no requests; 2 wrong usage, or
  the output or checkpoint cannot be written; 130 stopped by Ctrl-C, 143 by
  SIGTERM: what was answered is kept. Calls under way have five seconds more; a
  second Ctrl-C leaves at once."""


def add_to(commands: Commands) -> None:
    """Add the command with all its options."""
    command = add_command(commands, "run", "send a file of requests, write the answers", _DESCRIPTION, _EPILOG)
    command.set_defaults(execute=execute, command="run")
    _add_files(command)
    add_prompts(command)
    _add_limits(command)
    _add_provider(command)


def _add_files(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "requests", nargs="?", metavar="REQUESTS", help="file of requests, JSON lines; - for standard input"
    )
    command.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="file for the answers; - for standard output (required)"
    )
    command.add_argument(
        "--overwrite",
        action="store_true",
        help="replace FILE if it exists (default: refuse, unless its checkpoint is there too)",
    )
    keep = command.add_mutually_exclusive_group()
    keep.add_argument(
        "--checkpoint", metavar="DB", help="file that keeps every answer (default: FILE.db; none for standard output)"
    )
    keep.add_argument(
        "--no-checkpoint",
        action="store_true",
        help="keep no checkpoint; after a stop, all is asked again (default: keep one)",
    )
    command.add_argument(
        "--unordered",
        action="store_true",
        help="write each line when its request ends (default: in the order of the input)",
    )
    command.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="show a progress bar on standard error (default: on a terminal)",
    )


def _add_limits(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("limits")
    add_rates(group)
    group.add_argument(
        "--workers", type=kinds.whole, metavar="N", help="most calls in flight at once (default: as many as --rpm)"
    )
    group.add_argument(
        "--retries",
        type=kinds.whole_or_zero,
        default=2,
        metavar="N",
        help="further attempts for a request that failed in a way that may pass (default: %(default)s)",
    )
    group.add_argument(
        "--max-cost",
        type=kinds.dollars,
        metavar="USD",
        help="most that the run may cost; requests that could pass it fail, and can be run again (default: no bound)",
    )
    group.add_argument(
        "--allow-unpriced",
        action="store_true",
        help="under --max-cost, send requests whose price is unknown too, and count them as nothing (default: refuse)",
    )
    group.add_argument(
        "--timeout",
        type=kinds.seconds,
        metavar="SECONDS",
        help="longest time for the whole run; what is not answered by then fails (default: none)",
    )
    group.add_argument(
        "--request-timeout", type=kinds.seconds, metavar="SECONDS", help="longest time for one call (default: 600)"
    )
    group.add_argument(
        "--max-delay",
        type=kinds.seconds_or_none,
        default=300.0,
        metavar="SECONDS",
        help="longest wait of a request for the limits, once it is next; none: for ever (default: %(default)g)",
    )


def _add_provider(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("provider")
    add_model(group)
    group.add_argument(
        "--base-url",
        metavar="URL",
        help="server to ask, such as http://localhost:8000/v1 (default: the provider's own)",
    )
    group.add_argument(
        "--api-key-env",
        metavar="NAME",
        help="environment variable that holds the key (default: as LiteLLM looks for it)",
    )
    group.add_argument(
        "--no-sanitize",
        dest="sanitize",
        action="store_false",
        help="send requests as they are (default: parameters that the model does not take are dropped, and "
        "messages are truncated to its context)",
    )


def execute(options: argparse.Namespace) -> int:
    """Do it.

    Raises:
        UsageError: Something has to be put right first; nothing was sent.
    """
    source = source_of(options)
    checkpoint = _checkpoint(options)
    # Beside its own checkpoint an output is what an earlier run made of the same answers.
    resumes = options.checkpoint is None and checkpoint is not None and Path(checkpoint).exists()
    check_output(options.output, overwrite=options.overwrite or resumes, source=source)
    key, base_url = _key(options.api_key_env), checked_url(options.base_url)
    items = items_of(options, source)
    if key is None and base_url is not None and is_loopback(base_url) and not os.environ.get("OPENAI_API_KEY"):
        items = map(_with_no_key, items)
    shown = "standard input" if source == STANDARD else source
    performance = Performance(items, Remarks(NAME, shown))
    with ExitStack() as stack:
        stack.enter_context(library_messages(NAME))
        client = None
        if performance.has_requests():
            client = stack.enter_context(_client(options, key=key, base_url=base_url, checkpoint=checkpoint))
        file = stack.enter_context(opened_output(options.output, overwrite=options.overwrite or resumes))
        lines = Lines(file) if options.unordered else OrderedLines(file)
        return _perform(options, client, performance, lines, number_of_lines(source))


def _checkpoint(options: argparse.Namespace) -> str | None:
    if options.checkpoint is not None:
        return str(options.checkpoint)
    if options.no_checkpoint or options.output == STANDARD or not _may_be_a_file(options.output):
        return None
    return f"{options.output}.db"


def _may_be_a_file(path: str) -> bool:
    """Beside a pipe or a device, such as /dev/null, nobody looks for a checkpoint."""
    return Path(path).is_file() or not Path(path).exists()


def _client(
    options: argparse.Namespace, *, key: str | None, base_url: str | None, checkpoint: str | None
) -> "APIClient":
    # This imports LiteLLM, which takes seconds: only what has survived all checks pays for it.
    from llm_api_client.api_client import APIClient  # noqa: PLC0415

    return APIClient(
        options.rpm,
        options.tpm,
        options.workers,
        options.max_delay,
        api_key=key,
        base_url=base_url,
        request_timeout=options.request_timeout,
        checkpoint=checkpoint,
        max_cost=options.max_cost,
        allow_unpriced=options.allow_unpriced,
        history_limit=0,
        progress=options.progress,
    )


def _perform(
    options: argparse.Namespace,
    client: "APIClient | None",
    performance: Performance,
    lines: Lines,
    number: int | None,
) -> int:
    try:
        performance.run(
            client,
            lines,
            retries=options.retries,
            sanitize=options.sanitize,
            timeout=options.timeout,
            ordered=not options.unordered,
            number=number,
        )
    except OutputError as error:
        _report(options, client, performance.tally)
        message = f"cannot write {options.output} any further: {error}; the run was stopped{_how_to_go_on(options)}"
        raise UsageError(message) from error
    except CheckpointError as error:
        _report(options, client, performance.tally)
        message = f"the checkpoint failed, and the run was stopped: {error}"
        raise UsageError(message) from error
    except KeyboardInterrupt as stop:
        _report(options, client, performance.tally)
        raise type(stop)(f"stopped; what was answered until then is kept{_how_to_go_on(options)}") from None
    _report(options, client, performance.tally)
    return 1 if performance.tally.failed else 0


def _how_to_go_on(options: argparse.Namespace) -> str:
    """The end of a line about a stop: how to go on."""
    checkpoint = _checkpoint(options)
    if checkpoint is None:
        return ""
    overwriting = " with --overwrite" if options.checkpoint is not None and not options.overwrite else ""
    return f" in {checkpoint}: to go on, run the same command again{overwriting}"


def _report(options: argparse.Namespace, client: "APIClient | None", tally: Tally) -> None:
    if client is not None:
        say(str(client.tracker))
    say(str(tally))
    if options.output != STANDARD:
        say(f"Results: {options.output}")


def _key(name: str | None) -> str | None:
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        # The name is not repeated: whoever takes it for the key itself would see the key in a log.
        raise UsageError("--api-key-env: there is no such environment variable, or it is empty; export it first")
    return key


def _with_no_key(item: Entry | Fault) -> Entry | Fault:
    """Servers on this machine often want no key; OpenAI's SDK, which asks them, wants one."""
    if isinstance(item, Entry) and _goes_to_openai_sdk(item.request):
        item.request.setdefault("api_key", NO_KEY)
    return item


def _goes_to_openai_sdk(request: dict[str, Any]) -> bool:
    model = request.get("model")
    elsewhere = "base_url" in request or "api_base" in request
    return isinstance(model, str) and model.startswith("openai/") and not elsewhere


def is_loopback(url: str) -> bool:
    """Whether a URL is of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
