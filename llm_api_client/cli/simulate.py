"""`llm-api-client simulate`: a provider on this machine, to try things on."""

import argparse
import errno
from typing import TYPE_CHECKING

from llm_api_client.cli import parser as kinds
from llm_api_client.cli.parser import PROGRAM, Commands, UsageError, add_command

if TYPE_CHECKING:
    from llm_api_client.simulator import Counts, SimulatedProvider

NAME = f"{PROGRAM} simulate"
HOST = "127.0.0.1"

_DESCRIPTION = """\
Serve a made-up OpenAI-compatible provider on this machine only, with strict
limits and with faults on request, until Ctrl-C or SIGTERM; then say what it
saw. It needs no network, takes any key, and costs nothing.

Chat completions, completions, responses, embeddings, moderations, images,
audio, rerank, models, files, batches and fine-tuning jobs are served. A request
chooses its own fault by "[simulate: 503]" in its last message, or by a header
such as "x-simulate: 429; retry-after=2"."""
_EPILOG = f"""\
examples:
  {NAME} --rpm 600 --tpm 100000
  {NAME} --port 0 --latency 2 --jitter 3 --hang-rate 0.01
  curl http://{HOST}:8000/simulator/counts

exit status:
  0 served until it was stopped; 2 wrong usage, or the port is taken."""


def add_to(commands: Commands) -> None:
    """Add the command with all its options."""
    command = add_command(commands, "simulate", "serve a made-up provider on this machine", _DESCRIPTION, _EPILOG)
    command.set_defaults(execute=execute, command="simulate")
    command.add_argument(
        "--port", type=kinds.port, default=8000, metavar="N", help="port; 0: any free one (default: %(default)s)"
    )
    command.add_argument(
        "--seed", type=kinds.whole_or_zero, metavar="N", help="makes chance repeat itself (default: it does not)"
    )
    _add_limits(command)
    _add_answers(command)
    _add_faults(command)


def _add_limits(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("limits; what is above them gets a 429")
    group.add_argument(
        "--rpm", type=kinds.limit, metavar="N", help="requests admitted in any window; 0 or none: all (default: all)"
    )
    group.add_argument(
        "--tpm", type=kinds.limit, metavar="N", help="tokens admitted in any window; 0 or none: all (default: all)"
    )
    group.add_argument(
        "--window",
        type=kinds.seconds,
        default=60.0,
        metavar="SECONDS",
        help="length of the window of both limits (default: %(default)g)",
    )
    group.add_argument(
        "--charge-max-tokens",
        action="store_true",
        help="charge the longest answer that a request allows, not the one that it gets (default: no)",
    )


def _add_answers(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("answers")
    group.add_argument("--answer", metavar="TEXT", help="text of each answer (default: quotes the prompt)")
    group.add_argument(
        "--answer-tokens",
        type=kinds.whole,
        metavar="N",
        help="length of each answer in tokens, cut or padded (default: as it is)",
    )
    for option, default, meaning in (
        ("--latency", 0.3, "time that each answer takes"),
        ("--jitter", 0.0, "at most so much more time, evenly spread"),
        ("--arrival-jitter", 0.0, "at most so much time before a request arrives, evenly spread"),
        ("--batch-seconds", 0.0, "time that a batch is validated, and again as much that it is in progress"),
    ):
        group.add_argument(
            option,
            type=kinds.seconds_or_zero,
            default=default,
            metavar="SECONDS",
            help=f"{meaning} (default: %(default)g)",
        )


def _add_faults(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("faults; shares of all requests, from 0 to 1")
    for option, default, meaning in (
        ("--error-rate", 0.02, "a status of 500, 502 or 503"),
        ("--rate-limit-rate", 0.0, "a 429 that has nothing to do with the limits"),
        ("--hang-rate", 0.0, "no answer, ever"),
        ("--reset-rate", 0.0, "the connection is reset"),
        ("--bad-json-rate", 0.0, "half of the JSON"),
        ("--html-rate", 0.0, "a page, with status 200"),
    ):
        group.add_argument(
            option, type=kinds.share, default=default, metavar="SHARE", help=f"{meaning} (default: %(default)g)"
        )


def execute(options: argparse.Namespace) -> int:
    """Serve until stopped.

    Raises:
        UsageError: The options make no sense together, or the port cannot be had.
    """
    provider = _provider(options)
    try:
        provider.serve_forever(_announce)
    except OSError as error:
        raise UsageError(_why_not(options.port, error)) from error
    _print(described(provider.counts))
    return 0


def described(counts: "Counts") -> str:
    """What a provider saw, on two lines."""
    errors = ", ".join(f"{number} of {status}" for status, number in sorted(counts.errors.items()))
    ends = [f"{counts.answered} answered", f"{counts.refused} refused by the limits (429)"]
    ends += [f"{sum(counts.errors.values())} errors ({errors})" if errors else "0 errors"]
    ends += [f"{counts.unanswered + counts.in_flight} without an answer"]
    return (
        f"The provider saw {counts.received} requests: {', '.join(ends)}.\n"
        f"Fullest window: {counts.worst_minute} requests, {counts.worst_minute_tokens} tokens; at most "
        f"{counts.peak_in_flight} at once, over {counts.connections} connections."
    )


def _provider(options: argparse.Namespace) -> "SimulatedProvider":
    from llm_api_client.simulator import SimulatedProvider  # noqa: PLC0415  its asyncio would slow the help

    try:
        return SimulatedProvider(
            requests_per_minute=options.rpm,
            tokens_per_minute=options.tpm,
            window=options.window,
            latency=options.latency,
            jitter=options.jitter,
            arrival_jitter=options.arrival_jitter,
            error_rate=options.error_rate,
            rate_limit_rate=options.rate_limit_rate,
            hang_rate=options.hang_rate,
            reset_rate=options.reset_rate,
            bad_json_rate=options.bad_json_rate,
            html_rate=options.html_rate,
            answer=options.answer,
            answer_tokens=options.answer_tokens,
            batch_seconds=options.batch_seconds,
            charge_max_tokens=options.charge_max_tokens,
            seed=options.seed,
            host=HOST,
            port=options.port,
            keep=0,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def _announce(base_url: str) -> None:
    _print(f"Serving on {base_url} until Ctrl-C; any key will do. Try, in another terminal:")
    _print(f"  echo Hello | {PROGRAM} run --prompts - --model openai/gpt-4o-mini --base-url {base_url} -o -")


def _why_not(port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use; choose another with --port, or any free one with --port 0"
    if error.errno == errno.EACCES:
        return f"port {port} needs privileges; choose one above 1023 with --port"
    return f"cannot listen on port {port}: {error.strerror or error}"


def _print(text: str) -> None:
    # Flushed: whoever reads a pipe waits for the address.
    print(text, flush=True)  # noqa: T201
