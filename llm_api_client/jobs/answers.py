"""What came of the requests of a batch, as results."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llm_api_client.call import litellm_door
from llm_api_client.call.answer import usage_of
from llm_api_client.call.failure import Heard, note_heard, read_failure
from llm_api_client.call.judge import Where, judge_answer, judge_failure
from llm_api_client.errors import (
    APICallException,
    BatchInterruptedError,
    BatchTimeoutError,
    InvalidRequestError,
    LLMAPIClientError,
    MalformedResponseError,
    ServerError,
)
from llm_api_client.jobs.account import Account
from llm_api_client.jobs.lines import Came
from llm_api_client.jobs.status import faults_of
from llm_api_client.record.replayed import ReplayedAnswer
from llm_api_client.records import Attempt, Kind, Result, Usage, Verdict

_TYPES = {"chat.completion": "ModelResponse", "list": "EmbeddingResponse", "text_completion": "TextCompletionResponse"}
_OK = 200


@dataclass(frozen=True, slots=True)
class Reading:
    """How what a batch came to is read.

    Attributes:
        account: Who was asked.
        batch: What the provider says of the batch, which is over.
        wall: The time of day, for a batch that does not say when it ended.
        price: US dollars for a model of a provider and a usage, or None.
        revive: Makes LiteLLM's answers of their data.
    """

    account: Account
    batch: Mapping[str, Any]
    wall: float
    price: Callable[[str, str, Mapping[str, Any]], float | None] = litellm_door.batch_price
    revive: Callable[[str, Any], Any] = litellm_door.revive

    @property
    def ended_at(self) -> float:
        """Seconds since the epoch when the batch ended."""
        state = self.batch.get("status")
        return float(self.batch.get(f"{state}_at") or self.wall)

    @property
    def latency(self) -> float:
        """Seconds from the batch's beginning to its end: when within it a request was answered, nobody says."""
        return max(0.0, self.ended_at - float(self.batch.get("created_at") or self.ended_at))

    def answer(self, came: Came, request: Any) -> tuple[Result, Attempt | None]:
        """What came of a request, and the call that was made for it, if any was."""
        if not came.status:
            return self.end(came.index, request, self._not_performed(came)), None
        response = usage = cost = None
        if came.status == _OK:
            response, usage, cost = self._revived(came)
            verdict = judge_answer(response, self._where)
        else:
            verdict = self._judged(came)
        if verdict.error is not None:
            verdict.error.index = came.index
        model, provider = self.account.model, self.account.provider
        attempt = Attempt(model, verdict, self.latency, usage, cost, response, provider=provider)
        answered = verdict.kind is Kind.ANSWERED
        result = Result(
            came.index, request, response if answered else None, verdict.error, 1, self.latency, cost,
            usage if answered else None, self.ended_at, self.account.model,
        )  # fmt: skip
        return result, attempt

    def end(self, index: int, request: Any, error: LLMAPIClientError) -> Result:
        """The result of a request for which no call was made."""
        error.index = index
        return Result(index, request, None, error, created_at=self.ended_at, model=self.account.model)

    def missing(self, line: int | None) -> LLMAPIClientError:
        """Why a request has no line in what came back; `line` is the number of its own in the file, from 1."""
        batch, state = self.batch.get("id"), self.batch.get("status")
        if state == "failed":
            return self._failed(line)
        if state in _GIVEN_UP:
            return self._given_up(str(state))
        message = f"The batch {batch} is {state}, and has no answer to this request; it may be billed all the same."
        return MalformedResponseError(message, provider=self.account.provider, model=self.account.model)

    @property
    def _where(self) -> Where:
        return Where(self.account.model, self.account.provider, self.account.connection.get("api_base"))

    def _not_performed(self, came: Came) -> LLMAPIClientError:
        state = str(came.code or "").removeprefix("batch_")
        if state in _GIVEN_UP:
            return self._given_up(state)
        message = f"The provider did not perform the request: {came.message or 'it gives no reason'} ({came.code})."
        return ServerError(message, provider=self.account.provider, model=self.account.model)

    def _given_up(self, state: str) -> LLMAPIClientError:
        error, why, cure = _GIVEN_UP[state]
        return error(f"The batch {self.batch.get('id')} {why} before this request was performed{cure}.")

    def _failed(self, line: int | None) -> APICallException:
        faults = faults_of(self.batch)
        own = next((fault for fault in faults if fault.line is not None and fault.line == line), None)
        if own is not None:
            message = f"The provider refused the request: {own.message} Change it."
        elif faults:
            message = f"The provider refused the file with this request in it, without performing any: {faults[0]}"
        else:
            message = f"The batch {self.batch.get('id')} failed, and the provider gives no reason."
        return InvalidRequestError(message, provider=self.account.provider, model=self.account.model)

    def _judged(self, came: Came) -> Verdict:
        headers = {} if came.request_id is None else {"x-request-id": came.request_id}
        raised = RuntimeError("a request of a batch failed")
        note_heard(raised, Heard(came.status, headers, json.dumps(came.body)))
        return judge_failure(read_failure(raised, self.wall), self._where)

    def _revived(self, came: Came) -> tuple[Any, Usage | None, float | None]:
        body = came.body
        if not isinstance(body, dict):
            return None, None, None
        response = self.revive(_TYPES.get(str(body.get("object")), "ModelResponse"), body) or ReplayedAnswer(body)
        usage, counted = usage_of(response), body.get("usage")
        cost = None
        if usage is not None and isinstance(counted, dict):
            cost = self.price(self.account.model, self.account.provider, counted)
        hidden = getattr(response, "_hidden_params", None)
        if isinstance(hidden, dict):
            hidden["response_cost"] = cost
            if came.request_id is not None:
                hidden["additional_headers"] = {"llm_provider-x-request-id": came.request_id}
        return response, usage, cost


_GIVEN_UP: dict[str, tuple[type[LLMAPIClientError], str, str]] = {
    "cancelled": (BatchInterruptedError, "was cancelled", ""),
    "expired": (BatchTimeoutError, "expired", "; submit it again"),
}
