"""`llm-api-client batch`: a file of requests to a provider's own batches, and the answers when they are there."""

import argparse
import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_api_client.cli.inputs import STANDARD
from llm_api_client.cli.outputs import Lines, OutputError, check_output, opened_output
from llm_api_client.cli.parser import PROGRAM, Commands, Parser, UsageError, add_command, seconds, whole
from llm_api_client.cli.run import NO_KEY, is_loopback
from llm_api_client.cli.run import _key as key_of_variable
from llm_api_client.cli.sources import add_model, add_prompts, checked_url, items_of, source_of
from llm_api_client.cli.summary import Tally, library_messages, report_lines, say
from llm_api_client.errors import APICallException, BatchTimeoutError, InvalidInputError
from llm_api_client.record.batch_file import Entry, Fault, default_id, result_line

if TYPE_CHECKING:
    from llm_api_client.api_client import APIClient
    from llm_api_client.jobs import BatchJob, BatchStatus

NAME = f"{PROGRAM} batch"

_DESCRIPTION = """\
Hand a file of requests to its provider, which answers it within a day for
about half the price. OpenAI and Azure have such batches."""
_EPILOG = f"""\
examples:
  {NAME} submit requests.jsonl
  {NAME} status requests.jsonl.job
  {NAME} fetch requests.jsonl.job -o responses.jsonl --wait

A job is named by what "submit" prints, or by the file that keeps it. All
commands but "submit" take either. Keys come from the environment, as for
"run".

exit status:
  0 all went well; 1 some requests failed, the job is not done yet, or the
  provider refused; 2 wrong usage; 130 stopped by Ctrl-C: the job goes on."""
_SUBMIT = """\
Submit every request of a file. The input is that of "run". Requests that
cannot be sent are reported, and the others submitted without them. The same
command run again submits only what is missing."""
_FETCH = """\
Write what came of every request, in the order of the input, as "run" does."""


def add_to(commands: Commands) -> None:
    """Add the command with its own commands and all their options."""
    command = add_command(commands, "batch", "use a provider's own batches", _DESCRIPTION, _EPILOG)
    own = command.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    _add_submit(own)
    status = _add(own, "status", "say how a job stands", "Say how a job stands.", _status)
    status.add_argument("--json", action="store_true", help="print JSON (default: text)")
    _add_fetch(own)
    _add(own, "cancel", "stop a job", "Ask the provider to stop a job; what it answered by then is kept.", _cancel)


def _add(own: Commands, name: str, summary: str, description: str, execute: Any) -> Parser:
    command = add_command(own, name, summary, description, "")
    command.set_defaults(execute=execute, command=f"batch {name}")
    if name != "submit":
        command.add_argument("job", metavar="JOB", help="the job's id, or the file that keeps it")
    group = command.add_argument_group("provider")
    group.add_argument("--base-url", metavar="URL", help="server to ask (default: the provider's own)")
    group.add_argument(
        "--api-key-env",
        metavar="NAME",
        help="environment variable that holds the key (default: as LiteLLM looks for it)",
    )
    return command


def _add_submit(own: Commands) -> None:
    command = _add(own, "submit", "submit a file of requests", _SUBMIT, _submit)
    command.add_argument(
        "requests", nargs="?", metavar="REQUESTS", help="file of requests, JSON lines; - for standard input"
    )
    command.add_argument(
        "--endpoint",
        default="chat",
        metavar="NAME",
        help="what is asked for where a line does not say: chat, completion or embeddings (default: %(default)s)",
    )
    command.add_argument(
        "--state",
        metavar="FILE",
        help="file that keeps how far the job is (default: REQUESTS.job; none for standard input)",
    )
    command.add_argument(
        "--max-requests", type=whole, default=50_000, metavar="N", help="requests of one batch (default: %(default)s)"
    )
    command.add_argument(
        "--no-sanitize",
        dest="sanitize",
        action="store_false",
        help="send requests as they are (default: drop parameters that the model does not take, truncate messages)",
    )
    add_model(command)
    add_prompts(command)


def _add_fetch(own: Commands) -> None:
    command = _add(own, "fetch", "write a job's answers", _FETCH, _fetch)
    command.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="file for the answers; - for standard output (required)"
    )
    command.add_argument("--overwrite", action="store_true", help="replace FILE if it exists (default: refuse)")
    command.add_argument("--wait", action="store_true", help="wait until the job is over (default: refuse before)")
    command.add_argument(
        "--timeout", type=seconds, metavar="SECONDS", help="longest time to wait with --wait (default: for ever)"
    )
    command.add_argument(
        "--poll",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="time before the second look, later ones are up to a minute apart (default: %(default)g)",
    )
    command.add_argument(
        "--partial", action="store_true", help="write what there is, though the job goes on (default: refuse)"
    )


def _submit(options: argparse.Namespace) -> int:
    source = source_of(options)
    checked_url(options.base_url)
    state = options.state or (None if source == STANDARD else f"{source}.job")
    items = list(items_of(options, source))
    shown = "standard input" if source == STANDARD else source
    report_lines(NAME, shown, [(item.line, item.message) for item in items if isinstance(item, Fault)])
    if not any(isinstance(item, Entry) for item in items):
        message = f"{shown} has no requests"
        raise UsageError(message)
    with library_messages(f"{NAME} submit"), _client(options) as client:
        try:
            job = client.submit_batch(
                [_request_of(item) for item in items],
                endpoint=options.endpoint,
                sanitize=options.sanitize,
                max_requests=options.max_requests,
                custom_ids=[item.custom_id for item in items],
                path=state,
            )
        except APICallException as error:
            again = "" if state is None else f" {state} keeps how far it is; run the same command again for the rest."
            say(f"{NAME} submit: error: {error}{again}")
            return 1
        refused = [(items[index], error) for index, error in job.refused.items()]
        report_lines(NAME, shown, [(item.line, error.message) for item, error in refused if isinstance(item, Entry)])
        print(job.id)  # noqa: T201  what was asked for
        say(f"Submitted: {len(items) - len(refused)} of {len(items)} requests{'' if state is None else f'; {state}'}")
        return 1 if refused else 0


def _request_of(item: Entry | Fault) -> Any:
    return item.request if isinstance(item, Entry) else InvalidInputError(f"line {item.line}: {item.message}")


def _status(options: argparse.Namespace) -> int:
    def tell(job: "BatchJob") -> int:
        _print(job.status(), as_json=options.json)
        return 0

    return _with_job(options, tell)


def _cancel(options: argparse.Namespace) -> int:
    def cancel(job: "BatchJob") -> int:
        _print(job.cancel(), as_json=False)
        return 0

    return _with_job(options, cancel)


def _fetch(options: argparse.Namespace) -> int:
    check_output(options.output, overwrite=options.overwrite)
    return _with_job(options, lambda job: _written(options, job))


def _written(options: argparse.Namespace, job: "BatchJob") -> int:
    from llm_api_client.jobs import JobNotDoneError  # noqa: PLC0415  it is there by now

    try:
        if options.wait:
            job.wait(options.timeout, options.poll)
        results = job.results(partial=options.partial)
    except (BatchTimeoutError, JobNotDoneError) as early:
        say(f"{NAME} fetch: {early}")
        return 1
    tally, names = Tally(), job.names()
    with opened_output(options.output, overwrite=options.overwrite) as file:
        lines = Lines(file)
        for result, name in zip(results, names, strict=True):
            line = result.index + 1
            try:
                lines.put(result.index, result_line(Entry(line, name or default_id(line), {}), result))
            except OutputError as error:
                message = f"cannot write {options.output}: {error}"
                raise UsageError(message) from error
            tally.count(line, result.error)
    cost = sum(result.cost or 0.0 for result in results)
    say(f"Total cost: ${cost:.4f}")
    say(str(tally))
    if options.output != STANDARD:
        say(f"Results: {options.output}")
    return 1 if tally.failed else 0


def _with_job(options: argparse.Namespace, do: Any) -> int:
    checked_url(options.base_url)
    with library_messages(f"{PROGRAM} {options.command}"), _client(options) as client:
        job = client.batch(path=options.job) if Path(options.job).is_file() else client.batch(options.job)
        try:
            status: int = do(job)
        except APICallException as error:
            say(f"{PROGRAM} {options.command}: error: {error}")
            return 1
        return status


def _client(options: argparse.Namespace) -> "APIClient":
    from llm_api_client.api_client import APIClient  # noqa: PLC0415  it imports LiteLLM, which takes seconds

    key, url = key_of_variable(options.api_key_env), options.base_url
    if key is None and url is not None and is_loopback(url) and not os.environ.get("OPENAI_API_KEY"):
        key = NO_KEY
    return APIClient(api_key=key, base_url=url, history_limit=0)


def _print(status: "BatchStatus", *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**asdict(status), "is_over": status.is_over}, indent=2))  # noqa: T201
        return
    print("\n".join(_told(status)))  # noqa: T201


def _told(status: "BatchStatus") -> Iterable[str]:
    yield str(status)
    for word, moment in (("created", status.created_at), ("expires", status.expires_at)):
        if moment is not None and not (word == "expires" and status.is_over):
            yield f"{word}: {datetime.fromtimestamp(moment).astimezone():%Y-%m-%d %H:%M:%S}"
    yield from (f"{batch}: {state}" for batch, state in status.batches)
    yield from (f"error: {error}" for error in status.errors)
