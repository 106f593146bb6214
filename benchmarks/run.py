"""Measures this library beside others, in one command: `python benchmarks/run.py [section ...]`."""

import argparse
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import envs
from harness.figures import Table, markdown
from harness.machine import allow_many_connections, load, machine
from harness.settings import Settings

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
DOCS = HERE.parent / "docs" / "benchmarks.md"
SECTIONS = (
    "imports", "first_answer", "throughput", "in_flight", "engine", "checkpoint", "streams", "truncation", "storm",
    "growth", "accuracy", "sustained",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; 0 if every section came to its end, whatever it found."""
    options = _options(arguments)
    if options.list:
        for name in SECTIONS:
            module = _section(name)
            length = f"{'long: ' if module.LONG else ''}{module.TAKES}"
            print(f"{name:12} {(module.__doc__ or '').splitlines()[0]}  [{length}]")
        return 0
    results: dict[str, Any] = json.loads(options.json.read_text()) if options.json.exists() else {}
    chosen = options.sections or ([] if options.update_docs else _short_ones())
    settings = Settings(options.rounds, options.minutes)
    allow_many_connections()
    failed = []
    for name in chosen:
        settings.log(f"== {name}: takes {_section(name).TAKES}")
        try:
            results[name] = _measured(name, settings, options.note)
        except Exception as error:  # noqa: BLE001  the other sections are still of use
            settings.log(f"{name} failed: {error}")
            failed.append(name)
            continue
        print(f"\n# {name}\n\n{page(results[name])}\n", flush=True)
        options.json.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    if options.markdown:
        parts = [f"## {name}\n\n{page(results[name])}" for name in SECTIONS if name in results]
        options.markdown.write_text("\n\n".join(parts) + "\n")
    if options.update_docs:
        DOCS.write_text(renewed(DOCS.read_text(), results))
        for result in results.values():
            for name, svg in result.get("pictures", {}).items():
                (DOCS.parent / name).write_text(svg)
    return 1 if failed else 0


def page(result: Mapping[str, Any]) -> str:
    """A section's result as markdown."""
    ran = result["machine"]
    versions = "; ".join(
        f"{env}: " + ", ".join(f"{name} {version}" for name, version in packages.items())
        for env, packages in result["versions"].items()
    )
    memory = f", {ran['memory_gb']} GB" if ran["memory_gb"] else ""
    facts = (
        f"{result['date']}; {ran['processor']}, {ran['cpus']} CPUs{memory}, {ran['system']}, {ran['python']}; "
        f"load average {result['load'][0]} before and {result['load'][1]} after; {versions}."
    )
    parts = [f"*{facts} {result['note']}".rstrip() + "*"]
    parts += [f"![{title_of(svg)}]({name})" for name, svg in result.get("pictures", {}).items()]
    parts += [markdown(Table(**table)) for table in result["tables"]]
    if result["targets"]:
        lines = [
            f"| {target['wanted']} | {target['measured']} | {'yes' if target['met'] else 'no'} |"
            for target in result["targets"]
        ]
        parts.append("\n".join(["| target | measured | met |", "|---|---|---|", *lines]))
    return "\n\n".join(parts)


def title_of(svg: str) -> str:
    """What a picture shows, as it says itself."""
    return svg.partition('aria-label="')[2].partition('"')[0]


def renewed(text: str, results: Mapping[str, Any]) -> str:
    """A document with what stands between its markers replaced by the results."""
    for name, result in results.items():
        before, start, rest = text.partition(f"<!-- benchmarks: {name} -->")
        if start:
            _, end, after = rest.partition("<!-- end -->")
            text = f"{before}{start}\n\n{page(result)}\n\n{end}{after}"
    return text


def _measured(name: str, settings: Settings, note: str) -> dict[str, Any]:
    before = load()
    outcome = _section(name).run(settings)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "load": [before, load()],
        "note": note,
        "versions": {env: envs.versions(env) for env in envs.REQUIREMENTS if (envs.HOME / env).exists()},
        **asdict(outcome),
    }


def _short_ones() -> list[str]:
    return [name for name in SECTIONS if not _section(name).LONG]


def _section(name: str) -> Any:
    return importlib.import_module(f"sections.{name}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "sections", nargs="*", choices=[*SECTIONS, []], metavar="section", help="default: all short ones"
    )
    parser.add_argument("--list", action="store_true", help="say which sections there are")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often everything is repeated")
    parser.add_argument("--minutes", type=float, metavar="M", help="length of the long runs (default 10)")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where results are kept and added")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write all results there as a page")
    parser.add_argument("--update-docs", action="store_true", help="write all results into docs/benchmarks.md")
    parser.add_argument("--note", default="", metavar="TEXT", help="what has to be known of the circumstances")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
