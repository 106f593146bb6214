"""Where requests come from: the options that `run` and `estimate` share, and what they mean."""

import argparse
from collections.abc import Iterator
from urllib.parse import urlsplit

from llm_api_client.cli.inputs import parse_params, read_prompts, read_requests
from llm_api_client.cli.parser import Group, UsageError, limit
from llm_api_client.record.batch_file import Entry, Fault


def add_prompts(command: argparse.ArgumentParser) -> None:
    """Add the options of plain prompts."""
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


def add_model(group: Group) -> None:
    """Add the model of requests that name none."""
    group.add_argument(
        "--model",
        metavar="NAME",
        help="model of requests that name none, as LiteLLM calls it: gpt-4o-mini, anthropic/..., openai/... for any "
        "compatible server; needed by --prompts (default: none)",
    )


def add_rates(group: Group) -> None:
    """Add the limits by the minute."""
    group.add_argument(
        "--rpm",
        type=limit,
        default=10_000,
        metavar="N",
        help="most requests in any minute; 0 or none: no limit (default: %(default)s)",
    )
    group.add_argument(
        "--tpm",
        type=limit,
        default=2_000_000,
        metavar="N",
        help="most tokens, of prompts and answers, in any minute; 0 or none: no limit (default: %(default)s)",
    )


def source_of(options: argparse.Namespace) -> str:
    """The file to read, once the options agree with one another.

    Raises:
        UsageError: They don't.
    """
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


def items_of(options: argparse.Namespace, source: str) -> Iterator[Entry | Fault]:
    """The requests of the file, as they are read, and the lines that are none."""
    if options.prompts is None:
        return read_requests(source, options.model)
    params = parse_params(options.param)
    return read_prompts(source, options.prompt_field, model=options.model, system=options.system, params=params)


def checked_url(url: str | None) -> str | None:
    """An address that can be asked.

    Raises:
        UsageError: It can't.
    """
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        message = f"--base-url takes a URL such as http://localhost:8000/v1, not {url!r}"
        raise UsageError(message)
    return url
