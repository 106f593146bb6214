"""One request in, one reply out: the order in which a provider looks at things. No I/O, and the time is an argument."""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from math import ceil, isinf
from random import Random

from .answers import MODELS, PNG, Author, events, model_body
from .books import Books, Visit
from .faults import NO_FAULT, Fault, FaultPlan, asked_for
from .limits import Ledger, Refusal
from .protocol import Json, ProviderError, check_model, said
from .storage import Storage, Visitor
from .uploads import Form, is_form, parse_form
from .wire import HttpRequest, MalformedRequestError, Reply

Headers = tuple[tuple[str, str], ...]

DESK = "/simulator/"
FIRST_OWN_FAILURE = 500
BATCHED = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/moderations")
"""Paths of requests that a batch may hold."""
_NO_ANSWER = frozenset({"hang", "reset", "cut", "html", "empty", "bad-json"})
PAGE = b"<!DOCTYPE html><html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>"


@dataclass(frozen=True, slots=True)
class Delays:
    """How long things take, in seconds.

    Attributes:
        latency: Every answer.
        jitter: At most this much more for an answer, evenly spread.
        arrival: At most this much before a request arrives, evenly spread.
        rng: Source of chance.
    """

    latency: float
    jitter: float
    arrival: float
    rng: Random

    def before_arrival(self) -> float:
        """Seconds that the network takes for one request."""
        return self.rng.uniform(0.0, self.arrival) if self.arrival else 0.0

    def before_answer(self) -> float:
        """Seconds that one answer takes."""
        return self.latency + (self.rng.uniform(0.0, self.jitter) if self.jitter else 0.0)


class Service:
    """Composes key, faults, limits and answers into replies, and keeps the books.

    A request is looked at in this order: path, key, body, what is to go wrong with it, limits. Errors of the first
    four are refusals at the door and charge nothing; one that fails behind it, with a 5xx or no answer, was charged.
    Files, batches and fine-tuning jobs are never charged.
    """

    def __init__(
        self,
        *,
        author: Author,
        books: Books,
        ledger: Ledger,
        plan: FaultPlan,
        delays: Delays,
        api_keys: Collection[str] | None,
        charge_max_tokens: bool,
        batch_seconds: float = 0.0,
        seed: int | None = None,
    ) -> None:
        self.books = books
        self._author = author
        self._ledger = ledger  # for its settings, which do not change; its state is behind the books
        self._plan = plan
        self._delays = delays
        self._api_keys = None if api_keys is None else frozenset(api_keys)
        self._charge_max_tokens = charge_max_tokens
        self._batch_seconds = batch_seconds
        self._seed = seed
        # Belongs to the server's thread; a reset, from any thread, puts an empty one in its place.
        self._storage = self._empty_storage()

    def travel_time(self, request: HttpRequest) -> float:
        """Seconds until the request arrives."""
        return 0.0 if request.path.startswith(DESK) else self._delays.before_arrival()

    def reply(self, request: HttpRequest, now: float, created: float) -> tuple[Reply, Visit | None]:
        """Answer a request that arrives `now`, at the wall clock's `created`.

        The visit is to be ended in the books when the reply is sent, or cannot be; None where it does not count.
        """
        if request.path.startswith(DESK):
            return self._at_the_desk(request), None
        body, form = _read(request)
        visit = Visit(request, body or {}, now)
        if form is not None:  # what it says is kept, but no file
            visit.size -= sum(len(file.content) for file in form.files.values())
        self.books.arrive(visit)
        try:
            reply = self._serve(request, body, form, visit, created)
        except ProviderError as error:
            reply = _json(error.status, error.body, error.headers)
        except Exception as error:  # noqa: BLE001  `answer` is the user's function, and may raise anything
            reply = _json(500, _answer_failed(error).body)
        headers = (*reply.headers, *self._limit_headers(now), ("x-request-id", f"req-sim-{visit.number}"))
        return replace(reply, headers=headers), visit

    def malformed(self, error: MalformedRequestError, now: float) -> tuple[Reply, Visit]:
        """Answer bytes that are no request."""
        visit = Visit(HttpRequest("", "", {}, b"", keep_alive=False), {}, now)
        self.books.arrive(visit)
        return _json(error.status, ProviderError(error.status, str(error)).body), visit

    def reset(self) -> None:
        """Begin anew: books, window and script, and nothing stored."""
        self.books.reset()
        self._plan.forget()
        self._storage = self._empty_storage()

    def _empty_storage(self) -> Storage:
        rng = Random(self._seed)  # noqa: S311  chance, no secret
        return Storage(self._answer_later, BATCHED, self._batch_seconds, rng)

    def _serve(self, request: HttpRequest, body: Json | None, form: Form | None, visit: Visit, created: float) -> Reply:
        path, storage = request.path.removeprefix("/v1"), self._storage
        allowed = ("POST",) if self._author.knows(path) else ("GET",) if _is_models(path) else storage.allowed(path)
        if request.method not in allowed:
            raise _no_such_thing(request, ", ".join(allowed))
        self._check_key(request)
        if _is_models(path):
            return _models(path)
        if body is None:
            if is_form(request.headers.get("content-type", "")):
                raise ProviderError(
                    400, "We could not parse the form of your request: it has to be multipart/form-data."
                )
            raise ProviderError(400, "We could not parse the JSON body of your request: it has to be an object.")
        try:
            fault = self._plan.choose(request.headers.get("x-simulate"), said(body))
        except ValueError as error:
            raise ProviderError(400, str(error), param="simulate") from error
        if fault.kind == "error" and fault.status < FIRST_OWN_FAILURE:
            return self._failure(fault)
        if self._author.knows(path):
            reply = self._answer_now(request, body, form, visit, int(created), fault)
        elif fault.kind == "error":
            return self._failure(fault)
        else:
            visitor = Visitor(request.method, path, request.query, body, form, visit.arrived, created)
            reply = _garbled(storage.reply(visitor), fault)
        return replace(reply, delay=self._delay(fault))

    def _answer_now(
        self, request: HttpRequest, body: Json, form: Form | None, visit: Visit, created: int, fault: Fault
    ) -> Reply:
        path, files = request.path.removeprefix("/v1"), form.files if form else None
        answer = self._author.write(path, body, visit.number, created, files)
        if refusal := self.books.admit(answer.reserved if self._charge_max_tokens else answer.tokens, visit.arrived):
            visit.refused = True
            raise _limited(refusal, str(body.get("model")))
        if fault.kind == "error":
            return self._failure(fault)
        if isinstance(answer.body, bytes):
            return _garbled(Reply(200, answer.body, content_type=answer.content_type), fault)
        said_back = _without(answer.body, fault)
        for image in said_back["data"] if "created" in said_back and "data" in said_back else ():
            if "url" in image:
                image["url"] = f"http://{request.headers.get('host', 'localhost')}{image['url']}"
        reply = _json(200, said_back)
        if body.get("stream") and fault.kind != "bad-json":
            options = body.get("stream_options")
            usage = isinstance(options, dict) and bool(options.get("include_usage"))
            if pieces := tuple(events(said_back, include_usage=usage)):
                reply = Reply(200, events=pieces, content_type="text/event-stream")
        return _garbled(reply, fault)

    def _answer_later(self, endpoint: str, body: Json, name: str, created: int) -> tuple[int, Json]:
        """Answer a request of a batch; only what it asks for itself goes wrong with it."""
        try:
            fault = asked_for(said(body)) or NO_FAULT
        except ValueError as error:
            return 400, ProviderError(400, str(error), param="simulate").body
        if fault.kind == "error":
            return fault.status, _error_of(fault).body
        if fault.kind in _NO_ANSWER:
            return 500, ProviderError(500, "The request could not be executed.", "server_error").body
        try:
            answer = self._author.write(endpoint.removeprefix("/v1"), body, name, created)
            assert isinstance(answer.body, dict)  # noqa: S101  as at every path that a batch may have
            return 200, _without(answer.body, fault)
        except ProviderError as error:
            return error.status, error.body
        except Exception as error:  # noqa: BLE001  `answer` is the user's function, and may raise anything
            return 500, _answer_failed(error).body

    def _at_the_desk(self, request: HttpRequest) -> Reply:
        match request.method, request.path.removeprefix(DESK):
            case "GET", "counts":
                return _json(200, asdict(self.books.counts()))
            case "POST", "reset":
                self.reset()
                return _json(200, asdict(self.books.counts()))
            case "GET", "image.png":
                return Reply(200, PNG, content_type="image/png")
        error = _no_such_thing(request, "")
        return _json(error.status, error.body)

    def _check_key(self, request: HttpRequest) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            message = "You didn't provide an API key. Provide it in an Authorization header: 'Bearer YOUR_KEY'."
            raise ProviderError(401, message, code="invalid_api_key")
        if self._api_keys is not None and key not in self._api_keys:
            shown = key[: min(5, max(0, len(key) - 3))]  # enough to recognise it, never the whole
            raise ProviderError(401, f"Incorrect API key provided: {shown}***.", code="invalid_api_key")

    def _delay(self, fault: Fault) -> float:
        return self._delays.before_answer() if fault.latency is None else fault.latency

    def _failure(self, fault: Fault) -> Reply:
        headers = () if fault.retry_after is None else _retry_headers(fault.retry_after)
        return replace(_json(fault.status, _error_of(fault).body, headers), delay=self._delay(fault))

    def _limit_headers(self, now: float) -> Headers:
        standing = self.books.standing(now)
        reset = go_duration(standing.reset)
        headers: list[tuple[str, str]] = []
        for axis, limit, left in (
            ("requests", self._ledger.max_requests, standing.requests),
            ("tokens", self._ledger.max_tokens, standing.tokens),
        ):
            if limit is not None:
                headers += [
                    (f"x-ratelimit-limit-{axis}", str(limit)),
                    (f"x-ratelimit-remaining-{axis}", str(left)),
                    (f"x-ratelimit-reset-{axis}", reset),
                ]
        return tuple(headers)


def go_duration(seconds: float) -> str:
    """Seconds, rounded up to milliseconds, as Go writes them: "12ms", "1.2s", "6m0s"."""
    milliseconds = ceil(seconds * 1000)
    if milliseconds < 1000:  # noqa: PLR2004  a second
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _read(request: HttpRequest) -> tuple[Json | None, Form | None]:
    """The body of a request, and the form that it came as; None is no body that can be read."""
    if request.method != "POST" or not request.body:
        return {}, None
    content_type = request.headers.get("content-type", "")
    if not is_form(content_type):
        return _parse(request.body), None
    form = parse_form(content_type, request.body)
    return (None if form is None else form.described()), form


def _parse(data: bytes) -> Json | None:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _json(status: int, body: Json, headers: Headers = ()) -> Reply:
    return Reply(status, json.dumps(body).encode(), headers=headers)


def _models(path: str) -> Reply:
    if path == "/models":
        return _json(200, {"object": "list", "data": [model_body(model) for model in MODELS]})
    model = path.removeprefix("/models/")
    check_model(model)
    return _json(200, model_body(model))


def _error_of(fault: Fault) -> ProviderError:
    return ProviderError(fault.status, fault.message, fault.type, code=fault.code)


def _answer_failed(error: Exception) -> ProviderError:
    return ProviderError(500, f"The simulated answer failed: {error!r}", "server_error")


def _garbled(reply: Reply, fault: Fault) -> Reply:
    """A reply, as a fault leaves it."""
    match fault.kind:
        case "hang" | "reset":
            return Reply(fault.status, manner=fault.kind)
        case "html":
            return Reply(fault.status, PAGE, content_type="text/html; charset=utf-8")
        case "empty":
            return Reply(fault.status)
        case "bad-json":
            return replace(reply, status=fault.status, body=reply.body[: len(reply.body) // 2])
        case "cut":
            return replace(reply, status=fault.status, manner="cut")
    return replace(reply, status=fault.status)


def _is_models(path: str) -> bool:
    return path == "/models" or (path.startswith("/models/") and path != "/models/")


def _no_such_thing(request: HttpRequest, allowed: str) -> ProviderError:
    if allowed:
        message = f"Not allowed to {request.method} on {request.path} (HINT: it takes {allowed})"
        return ProviderError(405, message, code="method_not_supported", headers=(("allow", allowed),))
    return ProviderError(404, f"Invalid URL ({request.method} {request.path})", code="unknown_url")


def _without(body: Json, fault: Fault) -> Json:
    match fault.kind:
        case "no-usage":
            body.pop("usage", None)
        case "no-choices":
            body.update({name: [] for name in ("choices", "output", "results") if name in body})
        case "no-content":
            for choice in body.get("choices", ()):
                if "message" in choice:
                    choice["message"] = {**choice["message"], "content": None}
            for item in body.get("output", ()):
                item["content"] = []
    return body


def _retry_headers(seconds: float) -> Headers:
    return ("retry-after", str(ceil(seconds))), ("retry-after-ms", str(ceil(seconds * 1000)))


def _limited(refusal: Refusal, model: str) -> ProviderError:
    per = "requests per min (RPM)" if refusal.axis == "requests" else "tokens per min (TPM)"
    if isinf(refusal.wait):
        message = (
            f"Request too large for {model} in organization org-simulated on {per}: Limit {refusal.limit}, "
            f"Requested {refusal.requested}. The input or output tokens must be reduced in order to run successfully."
        )
        return ProviderError(429, message, refusal.axis, code="rate_limit_exceeded")
    message = (
        f"Rate limit reached for {model} in organization org-simulated on {per}: Limit {refusal.limit}, "
        f"Used {refusal.used}, Requested {refusal.requested}. Please try again in {go_duration(refusal.wait)}."
    )
    return ProviderError(429, message, refusal.axis, code="rate_limit_exceeded", headers=_retry_headers(refusal.wait))
