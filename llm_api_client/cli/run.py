"""`llm-api-client run`: a file of requests in, a file of answers out."""

import argparse
import os
from collections.abc import Sequence
from contextlib import ExitStack
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llm_api_client.cli import parser as kinds
from llm_api_client.cli.inputs import STANDARD, parse_params, read_prompts, read_requests
from llm_api_client.cli.outputs import OrderedLines, OutputError, check_output, opened_output
from llm_api_client.cli.parser import PROGRAM, Commands, UsageError, add_command
from llm_api_client.cli.perform import Performance
from llm_api_client.cli.summary import Tally, library_messages, report_lines, say
from llm_api_client.record.batch_file import Entry, Fault, repeated_ids

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
else. Lines are written as soon as all before them are done."""
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
  the output cannot be written; 130 stopped by Ctrl-C or SIGTERM: what was
  answered is written."""


def add_to(commands: Commands) -> None:
    """Add the command with all its options."""
    command = add_command(commands, "run", "send a file of requests, write the answers", _DESCRIPTION, _EPILOG)
    command.set_defaults(execute=execute, command="run")
    _add_files(command)
    _add_prompts(command)
    _add_limits(command)
    _add_provider(command)


def _add_files(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "requests", nargs="?", metavar="REQUESTS", help="file of requests, JSON lines; - for standard input"
    )
    command.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="file for the answers; - for standard output (required)"
    )
    command.add_argument("--overwrite", action="store_true", help="replace FILE if it exists (default: refuse)")
    command.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="show a progress bar on standard error (default: on a terminal)",
    )


def _add_prompts(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("plain prompts, instead of REQUESTS")
    group.add_argument(
        "--prompts", metavar="FILE", help="file of prompts, one a line; - for standard input (default: none)"
    )
    group.add_argument(
        "--prompt-field",
        metavar="NAME",
        help="the lines of --prompts are JSON objects, and the prompt is this field (default: a line is a prompt)",
    )
    group.add_argument("--system", metavar="TEXT", help="system message before each prompt (default: none)")
    group.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="parameter of each request, such as temperature=0.2; VALUE is JSON, else text; repeatable (default: none)",
    )


def _add_limits(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("limits")
    group.add_argument(
        "--rpm",
        type=kinds.limit,
        default=10_000,
        metavar="N",
        help="most requests in any minute; 0 or none: no limit (default: %(default)s)",
    )
    group.add_argument(
        "--tpm",
        type=kinds.limit,
        default=2_000_000,
        metavar="N",
        help="most tokens, of prompts and answers, in any minute; 0 or none: no limit (default: %(default)s)",
    )
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
    group.add_argument(
        "--model",
        metavar="NAME",
        help="model of requests that name none, as LiteLLM calls it: gpt-4o-mini, anthropic/..., openai/... for any "
        "compatible server; needed by --prompts (default: none)",
    )
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
    source = _source(options)
    check_output(options.output, overwrite=options.overwrite, source=source)
    key, base_url = _key(options.api_key_env), _checked_url(options.base_url)
    items = _items(options, source)
    if key is None and base_url is not None and not os.environ.get("OPENAI_API_KEY"):
        _give_no_key(items, base_url)
    shown = "standard input" if source == STANDARD else source
    report_lines(NAME, shown, [(item.line, item.message) for item in items if isinstance(item, Fault)])
    same = [(line, f"warning: its custom_id is that of line {earlier}") for line, earlier in repeated_ids(items)]
    report_lines(NAME, shown, same)
    return _run(options, items, key=key, base_url=base_url)


def _run(options: argparse.Namespace, items: Sequence[Entry | Fault], *, key: str | None, base_url: str | None) -> int:
    from llm_api_client.api_client import APIClient  # noqa: PLC0415

    with ExitStack() as stack:
        client = None
        if any(isinstance(item, Entry) for item in items):
            stack.enter_context(library_messages(NAME))
            # This imports LiteLLM, which takes seconds: only what has survived all checks pays for it.
            client = APIClient(
                options.rpm,
                options.tpm,
                options.workers,
                options.max_delay,
                api_key=key,
                base_url=base_url,
                request_timeout=options.request_timeout,
                history_limit=0,
                progress=options.progress,
            )
            stack.enter_context(client)
        file = stack.enter_context(opened_output(options.output, overwrite=options.overwrite))
        return _perform(options, client, Performance(items, OrderedLines(file)))


def _perform(options: argparse.Namespace, client: "APIClient | None", performance: Performance) -> int:
    try:
        performance.write_faults()
        if client is not None:
            performance.run(client, retries=options.retries, sanitize=options.sanitize, timeout=options.timeout)
    except OutputError as error:
        _report(options, client, performance.tally)
        message = f"cannot write {options.output} any further: {error}; the run was stopped"
        raise UsageError(message) from error
    except KeyboardInterrupt:
        _report(options, client, performance.tally)
        message = "stopped; what was answered until then is written"
        raise KeyboardInterrupt(message) from None
    _report(options, client, performance.tally)
    return 1 if performance.tally.failed else 0


def _report(options: argparse.Namespace, client: "APIClient | None", tally: Tally) -> None:
    if client is not None:
        say(str(client.tracker))
    say(str(tally))
    if options.output != STANDARD:
        say(f"Results: {options.output}")


def _source(options: argparse.Namespace) -> str:
    """The file to read, once the options agree with one another."""
    if (options.requests is None) == (options.prompts is None):
        raise UsageError("name either a file of REQUESTS or --prompts FILE (- for standard input)")
    if options.requests is not None:
        for given, name in ((options.prompt_field, "--prompt-field"), (options.system, "--system")):
            if given is not None:
                message = f"{name} goes with --prompts; in a file of requests each line says it for itself"
                raise UsageError(message)
        if options.param:
            raise UsageError("--param goes with --prompts; in a file of requests each line says it for itself")
        return str(options.requests)
    if options.model is None:
        raise UsageError("--prompts needs --model NAME, such as --model gpt-4o-mini")
    if options.prompt_field is None and options.prompts.endswith(".jsonl"):
        message = f"{options.prompts} holds JSON lines: name the field of the prompt with --prompt-field NAME"
        raise UsageError(message)
    return str(options.prompts)


def _items(options: argparse.Namespace, source: str) -> list[Entry | Fault]:
    if options.prompts is None:
        return read_requests(source, options.model)
    params = parse_params(options.param)
    return read_prompts(source, options.prompt_field, model=options.model, system=options.system, params=params)


def _key(name: str | None) -> str | None:
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        # The name is not repeated: whoever takes it for the key itself would see the key in a log.
        raise UsageError("--api-key-env: there is no such environment variable, or it is empty; export it first")
    return key


def _checked_url(url: str | None) -> str | None:
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        message = f"--base-url takes a URL such as http://localhost:8000/v1, not {url!r}"
        raise UsageError(message)
    return url


def _give_no_key(items: Sequence[Entry | Fault], base_url: str) -> None:
    """Servers on this machine often want no key; OpenAI's SDK, which asks them, wants one."""
    if not is_loopback(base_url):
        return
    for item in items:
        if isinstance(item, Entry) and _goes_to_openai_sdk(item.request):
            item.request.setdefault("api_key", NO_KEY)


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
