"""`llm-api-client demo`: the whole library at work, without a key, a network or a cent."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_api_client.cli import parser as kinds
from llm_api_client.cli.outputs import OrderedLines, OutputError, check_output, opened_output
from llm_api_client.cli.parser import PROGRAM, Commands, UsageError, add_command
from llm_api_client.cli.perform import Performance
from llm_api_client.cli.simulate import described
from llm_api_client.cli.summary import Remarks, library_messages, say
from llm_api_client.record.batch_file import Entry, default_id

if TYPE_CHECKING:
    from llm_api_client.cli.demo_prompts import Task
    from llm_api_client.simulator import SimulatedProvider

NAME = f"{PROGRAM} demo"
MODEL = "openai/gpt-4o-mini"
KEY = "sk-demo"
RETRIES = 5
SEED = 7

_DESCRIPTION = """\
Label a few hundred made-up texts with a made-up provider on this machine: the
real library, the real LiteLLM, real HTTP, limits that bite and a provider that
fails now and then. It needs no key and no network, and costs nothing."""
_EPILOG = f"""\
examples:
  {NAME}
  {NAME} --requests 1000 --rpm 6000 -o demo.jsonl

exit status:
  0 all answered; 1 some failed; 2 wrong usage; 130 stopped by Ctrl-C."""


def add_to(commands: Commands) -> None:
    """Add the command with all its options."""
    command = add_command(commands, "demo", "see it work, without a key or a network", _DESCRIPTION, _EPILOG)
    command.set_defaults(execute=execute, command="demo")
    command.add_argument(
        "--requests", type=kinds.whole, default=240, metavar="N", help="texts to label (default: %(default)s)"
    )
    command.add_argument(
        "--rpm",
        type=kinds.whole,
        default=1_000,
        metavar="N",
        help="requests that the provider admits in any minute (default: %(default)s)",
    )
    command.add_argument(
        "--tpm",
        type=kinds.whole,
        default=100_000,
        metavar="N",
        help="tokens that the provider admits in any minute (default: %(default)s)",
    )
    command.add_argument(
        "--error-rate",
        type=kinds.share,
        default=0.04,
        metavar="SHARE",
        help="share of requests that the provider fails, from 0 to 1 (default: %(default)g)",
    )
    command.add_argument(
        "-o", "--output", metavar="FILE", help="file for the answers (default: in a new temporary folder)"
    )
    command.add_argument("--overwrite", action="store_true", help="replace FILE if it exists (default: refuse)")
    command.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="show a progress bar on standard error (default: on a terminal)",
    )


def execute(options: argparse.Namespace) -> int:
    """Show it.

    Raises:
        UsageError: The output cannot be written.
    """
    from llm_api_client.cli.demo_prompts import tasks  # noqa: PLC0415  with what follows, slow for a help
    from llm_api_client.simulator import SimulatedProvider  # noqa: PLC0415

    if options.output is not None:
        check_output(options.output, overwrite=options.overwrite)
    output = options.output or str(Path(tempfile.mkdtemp(prefix="llm-api-client-demo-")) / "responses.jsonl")
    labelling = tasks(options.requests)
    say(
        f"{options.requests} texts to label, at most {options.rpm} requests and {options.tpm} tokens a minute; "
        f"the provider fails {options.error_rate:.0%} of them."
    )
    provider = SimulatedProvider(
        requests_per_minute=options.rpm,
        tokens_per_minute=options.tpm,
        latency=0.3,
        jitter=0.4,
        error_rate=options.error_rate,
        answer=_answers(labelling),
        seed=SEED,
    )
    with provider:
        failed = _run(options, labelling, provider, output)
    _show_example(labelling[0])
    return 1 if failed else 0


def _run(options: argparse.Namespace, labelling: "list[Task]", provider: "SimulatedProvider", output: str) -> int:
    from llm_api_client.api_client import APIClient  # noqa: PLC0415

    client = APIClient(
        options.rpm,
        options.tpm,
        base_url=provider.base_url,
        api_key=KEY,
        history_limit=0,
        progress=False if options.progress is None and not sys.stderr.isatty() else options.progress,
    )
    with library_messages(NAME), client, opened_output(output, overwrite=options.overwrite) as file:
        performance = Performance(_entries(labelling), Remarks(NAME, "the prompts"))
        try:
            performance.run(client, OrderedLines(file), retries=RETRIES, number=len(labelling))
        except KeyboardInterrupt as stop:
            raise type(stop)("stopped; what was answered until then is written") from None
        except OutputError as error:
            message = f"cannot write {output} any further: {error}"
            raise UsageError(message) from error
        finally:
            say(f"\n{client.tracker}\n\n{performance.tally}\n{described(provider.counts)}")
            price = f"${client.tracker.total_cost:.4f}"
            say(
                f"Nothing was spent: the provider is made up. {MODEL.partition('/')[2]} itself would have cost {price}."
            )
            say(f"Results: {output}")
    return performance.tally.failed


def _entries(labelling: "list[Task]") -> list[Entry]:
    return [Entry(line, default_id(line), _request(task)) for line, task in enumerate(labelling, 1)]


def _request(task: "Task") -> dict[str, Any]:
    from llm_api_client.cli.demo_prompts import SYSTEM  # noqa: PLC0415

    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": task.prompt}]
    return {"model": MODEL, "messages": messages, "max_tokens": 20, "temperature": 0}


def _answers(labelling: "list[Task]") -> Any:
    """The made-up provider's knowledge: the right label of each prompt."""
    labels = {task.prompt: task.label for task in labelling}
    return lambda request: labels[request["messages"][-1]["content"]]


def _show_example(task: "Task") -> None:
    prompt = "\n    ".join(line for line in task.prompt.splitlines() if line)
    say(f"\nFor example:\n    {prompt}\n  -> {task.label}")
