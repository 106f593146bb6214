"""The part of a client that sends plain HTTP: to endpoints that LiteLLM does not know, on the same road."""

import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llm_api_client.admit.answers import AnswerLengths
from llm_api_client.admit.budget import Budget
from llm_api_client.admit.limits import Limits
from llm_api_client.api_client.options import check_positive
from llm_api_client.api_tracker import APIUsageTracker
from llm_api_client.call import litellm_door
from llm_api_client.call.http_door import HTTPDoor
from llm_api_client.call.retry import RetryPolicy
from llm_api_client.clock import Clock
from llm_api_client.errors import InvalidInputError
from llm_api_client.record.history import History
from llm_api_client.records import Result
from llm_api_client.run.batch import Batch
from llm_api_client.run.collect import only_result
from llm_api_client.run.defaults import Defaults
from llm_api_client.run.progress import Progress
from llm_api_client.run.purse import Purse
from llm_api_client.run.raw import RawPreparer, Unbilled, through
from llm_api_client.run.road import Road, in_a_thread


class RawHTTP:
    """Requests to any endpoint below the client's `base_url`, with its key, limits, retries, tracker and history."""

    tracker: APIUsageTracker
    history: History
    max_delay_seconds: float | None
    _http: HTTPDoor
    _raw: RawPreparer
    _limits: Limits
    _answers: AnswerLengths
    _retry: RetryPolicy
    _clock: Clock
    _defaults: Defaults
    _budget: Budget | None
    _allow_unpriced: bool
    _check_open: Callable[[], None]
    _begun: Callable[[Batch], Batch]

    def post_request(
        self,
        endpoint: str,
        payload: Mapping[str, Any],
        *,
        timeout: float | None = None,
        max_retries: int = 2,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Post JSON to an endpoint, and return the JSON of its answer.

        Nothing of the payload is changed. It is admitted by the limits of its `model`; an answer that reports its
        `usage` is counted, and priced where LiteLLM knows the model.

        Args:
            endpoint: Path below the client's `base_url`, such as "chat/completions".
            payload: What is sent.
            timeout: Longest time for one call, in seconds. Left out, the client's `request_timeout`, or 60.
            max_retries: Further attempts, should it fail in a way that may pass. A 429 is waited out, and is none.
            headers: Sent besides `Authorization: Bearer` and `Content-Type: application/json`, and in place of those
                two where they have their names.

        Returns:
            A dict; a list where the server answers with one.

        Raises:
            APICallException: The call failed; `status_code` is the server's, and 0 where no answer came.
            ConfigurationError: The client has no `base_url`, or an option cannot be used.
            InvalidInputError: The payload is not what JSON can say, or the endpoint is on another server.
            LLMAPIClientError: It was not sent; the class says why.
        """
        model = payload.get("model") if isinstance(payload, Mapping) else None
        request = {"endpoint": endpoint, "payload": payload, "headers": headers, "timeout": timeout}
        return self._perform_raw(request, max_retries, model=model if isinstance(model, str) else "", billed=True)

    def get(
        self,
        endpoint: str,
        params: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        max_retries: int = 2,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Get an endpoint's JSON. Redirects are followed; the key goes to no other server.

        Args:
            endpoint: As for `post_request`.
            params: The query of the URL. Servers and proxies write it into their logs, so that no key belongs there.
            timeout: As for `post_request`.
            max_retries: As for `post_request`.
            headers: As for `post_request`.

        Raises:
            APICallException: As for `post_request`, and so the others.
        """
        request = {"endpoint": endpoint, "method": "GET", "params": params, "headers": headers, "timeout": timeout}
        return self._perform_raw(request, max_retries)

    def upload_file(
        self,
        path: str | os.PathLike[str],
        purpose: str,
        *,
        endpoint: str = "files",
        timeout: float | None = None,
        max_retries: int = 2,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Upload a file as a form with `file` and `purpose`, as OpenAI's files API takes it.

        It is sent as it is read, so that its size takes no memory, and is read anew for each attempt.

        Args:
            path: The file.
            purpose: What it is for, such as "batch" or "fine-tune".
            endpoint: As for `post_request`.
            timeout: As for `post_request`.
            max_retries: As for `post_request`.
            headers: As for `post_request`.

        Returns:
            What the server says of the file.

        Raises:
            InvalidInputError: There is no such file.
            APICallException: As for `post_request`, and so the others.
        """
        if not Path(path).is_file():
            raise InvalidInputError(f"there is no file {os.fspath(path)!r}; give the path of one")
        form = {"files": {"file": os.fspath(path)}, "payload": {"purpose": purpose}}
        request = {"endpoint": endpoint, **form, "headers": headers, "timeout": timeout}
        return self._perform_raw(request, max_retries)

    def _perform_raw(
        self,
        request: Mapping[str, Any],
        max_retries: int,
        *,
        model: str = "",
        billed: bool = False,
        keep: Callable[[Result], None] | None = None,
    ) -> Any:
        """Send one request along the road, and return its answer or raise its error."""
        self._check_open()
        check_positive("timeout", request.get("timeout"))
        check_positive("max_retries", max_retries, whole=True, zero=True)
        request = {"model": model, **{name: value for name, value in request.items() if value is not None}}
        self._defaults.renew_keys()
        purse = None
        if billed and self._budget is not None:
            purse = Purse(self._budget, litellm_door.price, allow_unpriced=self._allow_unpriced)
        road = Road(
            preparer=self._raw,
            limits=self._limits,
            answers=self._answers,
            begin=in_a_thread(through(self._http)),
            price=litellm_door.price,
            retry=self._retry,
            tracker=self.tracker if billed else Unbilled(self.tracker),
            record=keep or self.history.append,
            clock=self._clock,
            chance=random.random,
            defaults=self._defaults,
            sanitize=False,
            max_delay=self.max_delay_seconds,
            purse=purse,
        )
        progress = Progress(1, wanted=False)
        batch = Batch(road, [request], workers=1, max_retries=max_retries, timeout=None, progress=progress)
        return only_result(self._begun(batch)).response
