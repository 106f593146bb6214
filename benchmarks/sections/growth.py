"""How the cost of a request grows: with the size of the batch, with the number of workers, with the length of prompts.

A cost that grows with the batch is quadratic in the end; one that grows with the workers makes waiting expensive.

- Batch, alone: 100 to a million requests of 12 words and 32 workers, calls that return at once, a limit on requests. A
  plain thread pool that makes the same calls, and keeps the answers, stands beside it.
- Batch, over HTTP: 100 to 100,000, against a server that answers at once; bare LiteLLM and async-batch-llm, as far as
  they come in a minute.
- Workers: 1 to 3,000, against a server that takes as many milliseconds as there are workers, so that whoever keeps all
  of them busy gets 1,000 answers a second.
- Words: 10 to 10,000 in each prompt, 32 workers, limits and sanitizing on.

CPU is all that the process used for its batch, over the requests; memory is the most that it had resident. A client
that has not finished after a minute is stopped, and left out.
"""

from dataclasses import replace
from typing import Any

from harness.envs import ASYNC_BATCH, PROJECT
from harness.figures import Outcome, Table, Target, spread
from harness.picture import Panel, draw
from harness.processes import Contestant, compete, server
from harness.settings import Settings

LONG = True
TAKES = "12 minutes"
PATIENCE = 60.0
HIGH = {"max_requests_per_minute": 1_000_000_000, "max_tokens_per_minute": 1_000_000_000_000}
REQUESTS_ONLY = {"max_requests_per_minute": 1_000_000_000, "max_tokens_per_minute": None, "sanitize": False}

OURS, LITELLM, OTHER, PLAIN = "this library", "LiteLLM in a thread pool", "async-batch-llm", "a plain thread pool"
PICTURE = "growth.svg"

_ENGINE = Contestant(OURS, PROJECT, "engine", {"options": REQUESTS_ONLY})
_PLAIN = Contestant(PLAIN, PROJECT, "engine", {"options": {"plain": True}})
_HTTP = Contestant(OURS, PROJECT, "project", {"options": HIGH})
_LITELLM = Contestant(LITELLM, PROJECT, "litellm_threads", {"options": {"max_retries": 0}})
_OTHER = Contestant(OTHER, ASYNC_BATCH, "async_batch")

Point = dict[str, Any]
"""What was found at one size: None for whoever is left out there."""


def run(settings: Settings) -> Outcome:
    """Each axis by itself, once, or as often as is asked for."""
    axes = {
        "batch, alone": ("requests", _alone(settings)),
        "batch, over HTTP": ("requests", _batches(settings)),
        "workers": ("workers", _workers(settings)),
        "words": ("words", _words(settings)),
    }
    titles = {
        "batch, alone": "The batch grows: 32 workers, calls that return at once",
        "batch, over HTTP": "The batch grows: 32 workers, over HTTP",
        "workers": "Workers grow: over HTTP, answers in as many ms as there are workers",
        "words": "Prompts grow: 32 workers, over HTTP",
    }
    panels = [
        Panel(name, unit, {who: _line(points, who) for who in _names(points)}) for name, (unit, points) in axes.items()
    ]
    return Outcome(
        tables=[_table(titles[name], unit, points) for name, (unit, points) in axes.items()],
        targets=[
            _target("1,000,000 requests: at most 1.5 × the CPU for each of 1,000", axes["batch, alone"][1], 1_000),
            _target("3,000 workers: at most 2 × the CPU for each request of 10", axes["workers"][1], 10, most=2.0),
        ],
        samples={name: points for name, (_, points) in axes.items()},
        pictures={PICTURE: draw("CPU for each request, ms", panels)},
    )


def _alone(settings: Settings) -> dict[int, Point]:
    return {
        count: {
            who.name: _measured(replace(who, order={**who.order, "count": count}), settings, "")
            for who in (_ENGINE, _PLAIN)
        }
        for count in (100, 1_000, 10_000, 100_000, 1_000_000)
    }


def _batches(settings: Settings) -> dict[int, Point]:
    most = {OURS: 100_000, LITELLM: 10_000, OTHER: 10_000}
    return {
        count: {
            who.name: _over_http(who, settings, count=count) if count <= most[who.name] else None
            for who in (_HTTP, _LITELLM, _OTHER)
        }
        for count in (100, 1_000, 10_000, 100_000)
    }


def _workers(settings: Settings) -> dict[int, Point]:
    most = {OURS: 3_000, LITELLM: 1_000, OTHER: 3_000}
    return {
        workers: {
            who.name: _over_http(
                who,
                settings,
                count=max(3 * workers, 3_000 if who is _HTTP else 1_000),
                concurrency=workers,
                latency=workers / 1_000,
            )
            if workers <= most[who.name]
            else None
            for who in (_HTTP, _LITELLM, _OTHER)
        }
        for workers in (1, 10, 100, 1_000, 3_000)
    }


def _words(settings: Settings) -> dict[int, Point]:
    return {
        words: {
            who.name: _over_http(who, settings, count=1_500 if who is _HTTP else 500, words=words)
            for who in (_HTTP, _LITELLM, _OTHER)
        }
        for words in (10, 100, 1_000, 10_000)
    }


def _over_http(who: Contestant, settings: Settings, *, latency: float = 0.0, **order: Any) -> list[Point] | None:
    who = replace(who, order={**who.order, **order})
    with server(provider={"latency": latency, "keep": 0}) as running:
        return _measured(who, settings, running.base_url)


def _measured(who: Contestant, settings: Settings, base_url: str) -> list[Point] | None:
    count = who.order["count"]
    found = []
    for _ in range(settings.rounds or 1):
        # Those that run by `contestants/engine.py` need neither an address nor patience.
        told = {"base_url": base_url, "seconds": PATIENCE * max(1, count / 50_000)} if base_url else {}
        report = compete(who, warm_up=100, **told)
        if report["answered"] != count:
            settings.log(f"{who.name} {who.order}: {report['answered']} answered")
            return None
        found.append(
            {
                "cpu_ms": 1000 * report["cpu"] / count,
                "per_second": count / report["wall"],
                "rss_mb": report["rss_mb"],
            }
        )
        size = {name: value for name, value in who.order.items() if name != "options"}
        settings.log(f"{who.name} {size}: " + ", ".join(f"{name} {value:,.3g}" for name, value in found[-1].items()))
    return found


def _names(points: dict[int, Point]) -> list[str]:
    return list(next(iter(points.values())))


def _line(points: dict[int, Point], who: str) -> list[tuple[float, float]]:
    return [
        (size, sum(sample["cpu_ms"] for sample in point[who]) / len(point[who]))
        for size, point in points.items()
        if point[who]
    ]


def _table(title: str, unit: str, points: dict[int, Point]) -> Table:
    figures = {"CPU ms": ("cpu_ms", 3), "per s": ("per_second", 0), "MB": ("rss_mb", 0)}
    names = _names(points)
    return Table(
        title,
        [unit, *(f"{who}: {what}" for who in names for what in figures)],
        [
            [
                f"{size:,}",
                *(
                    spread([sample[key] for sample in point[who]], digits) if point[who] else "–"
                    for who in names
                    for key, digits in figures.values()
                ),
            ]
            for size, point in points.items()
        ],
    )


def _target(wanted: str, points: dict[int, Point], from_size: int, most: float = 1.5) -> Target:
    line = dict(_line(points, OURS))
    last = max(points)
    if last not in line or from_size not in line:
        return Target(wanted, "not finished", met=False)
    grown = line[last] / line[from_size]
    return Target(wanted, f"{grown:.2f}", grown <= most)
