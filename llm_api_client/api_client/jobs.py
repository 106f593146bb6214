"""The part of a client that hands work to a provider which does it in its own time."""

import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import repeat
from typing import Any

from llm_api_client.api_client.options import check_positive
from llm_api_client.api_tracker import APIUsageTracker
from llm_api_client.call import litellm_door
from llm_api_client.call.retry import RetryPolicy
from llm_api_client.clock import Clock
from llm_api_client.errors import ConfigurationError, InvalidInputError
from llm_api_client.jobs import fine_tuning, submission
from llm_api_client.jobs.account import Account, Desk
from llm_api_client.jobs.batch import BatchJob
from llm_api_client.jobs.drafts import OPERATIONS, Drafting
from llm_api_client.jobs.fine_tuning import FineTuningJob
from llm_api_client.jobs.training import check_training_file
from llm_api_client.operations import Operation, operation_named
from llm_api_client.prepare.check import check_requests
from llm_api_client.prepare.preparer import Preparer
from llm_api_client.record.history import History
from llm_api_client.run.defaults import Defaults

MAX_REQUESTS = 50_000
MAX_BYTES = 200 * 2**20
_MOST_METADATA = 16


class Jobs:
    """Provider's batches and fine-tuning."""

    tracker: APIUsageTracker
    history: History
    _preparer: Preparer
    _defaults: Defaults
    _clock: Clock
    _retry: RetryPolicy
    _check_open: Callable[[], None]

    def submit_batch(
        self,
        requests: Iterable[Mapping[str, Any]],
        *,
        endpoint: str = "chat",
        sanitize: bool = True,
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        max_requests: int = MAX_REQUESTS,
        max_bytes: int = MAX_BYTES,
        custom_ids: Sequence[str] | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> BatchJob:
        """Hand requests to their provider, which answers them within a day for about half the price.

        Requests are prepared as by `make_requests`, written to files, one model and at most `max_requests` and
        `max_bytes` in each, and a batch is made of each file. A request that cannot be sent spoils only its own slot:
        it is not uploaded, and its result has the reason. Limits and `max_cost` do not hold for batches.

        Args:
            requests: As for `make_requests`; of OpenAI's and Azure's models.
            endpoint: What is asked for where a request does not say: "chat", "completion" or "embeddings".
            sanitize: As for `make_requests`.
            completion_window: How long the provider may take; OpenAI knows only "24h".
            metadata: Up to 16 texts by their names that the provider keeps with each batch.
            max_requests: Requests of one batch at most. Default 50,000, as many as OpenAI takes.
            max_bytes: Bytes of one file at most. Default 200 MB, as many as OpenAI takes.
            custom_ids: Your own names of the requests, for the provider's files; `job.names()` has them again. They
                need not be different. Default None: none.
            path: File that keeps how far the job is. With it, a call that was cut short in whatever way is repeated
                with the same requests, and submits the rest. Left out, `job.id` is all that there is to keep.

        Raises:
            InvalidInputError: `requests` is not a list of requests.
            ConfigurationError: An option cannot be used, or `path` keeps other requests.
            APICallException: Nothing was submitted.
            SubmissionError: A part was submitted; its `job` is what there is, and submits the rest by `resume()`.
            ClientClosedError: The client is closed.
        """
        self._check_open()
        check_positive("max_requests", max_requests, whole=True)
        check_positive("max_bytes", max_bytes, whole=True)
        _check_metadata(metadata)
        operation = _batched(endpoint)
        given = list(check_requests(requests))
        if custom_ids is not None and len(custom_ids) != len(given):
            raise ConfigurationError(f"there are {len(custom_ids)} custom_ids for {len(given)} requests.")
        self._defaults.renew_keys()
        preparer = self._preparer.asking_for(operation)
        complete = self._defaults.complete
        drafting = Drafting(self._desk(), preparer, _provider_of, complete, sanitize, max_requests, max_bytes)
        names = repeat(None) if custom_ids is None else custom_ids
        return submission.submit(
            drafting,
            zip(names, given, strict=False),
            given,
            tracker=self.tracker,
            record=self.history.append,
            path=path,
            window=completion_window,
            metadata=metadata,
        )

    def batch(self, id: str | None = None, *, path: str | os.PathLike[str] | None = None) -> BatchJob:  # noqa: A002  the name that users know
        """A job that was submitted before, here or elsewhere, by its `id` or by the file that keeps it.

        Nothing is asked of the provider yet. The client must have the key and base URL that the job was submitted with.

        Args:
            id: The job's `id`.
            path: The `path` that it was submitted with; with it, the reasons of requests that were not uploaded are
                known too.

        Raises:
            ConfigurationError: It names no job.
            ClientClosedError: The client is closed.
        """
        self._check_open()
        self._defaults.renew_keys()
        if (id is None) == (path is None):
            raise ConfigurationError("give either the job's id or the path of the file that keeps it")
        return submission.taken_up(
            self._desk(), self._account, id, path, tracker=self.tracker, record=self.history.append
        )

    def fine_tune(
        self,
        training_file: str | os.PathLike[str],
        model: str,
        *,
        validation_file: str | os.PathLike[str] | None = None,
        suffix: str | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> FineTuningJob:
        """Check examples, upload them, and have a model trained on them.

        Args:
            training_file: Chats, a JSON object a line, as `check_training_file` takes them.
            model: The model to begin with, of OpenAI or Azure.
            validation_file: Further chats, by which the training is judged. Default None.
            suffix: Part of the new model's name. Default None.
            hyperparameters: `n_epochs`, `batch_size` and `learning_rate_multiplier`. Default None: the provider's.
            seed: Makes training repeat itself, as far as the provider can. Default None.

        Raises:
            InvalidInputError: What is wrong with which lines; nothing was uploaded.
            APICallException: The provider does not take it; no job was made.
            ClientClosedError: The client is closed.
        """
        self._check_open()
        self._defaults.renew_keys()
        account = self._account(model)
        if account.provider not in fine_tuning.PROVIDERS:
            known = " and ".join(fine_tuning.PROVIDERS)
            raise InvalidInputError(f"{model!r} is of {account.provider}, and fine-tuning goes to {known} only")
        training = check_training_file(training_file)
        validation = None if validation_file is None else check_training_file(validation_file, least=1)
        options = {"suffix": suffix, "hyperparameters": dict(hyperparameters or {}) or None, "seed": seed}
        wanted = {name: value for name, value in options.items() if value is not None}
        return fine_tuning.begin(account, training, validation, wanted)

    def fine_tuning_job(self, id: str) -> FineTuningJob:  # noqa: A002  likewise
        """A fine-tuning job that was started before, by its `id`, or by the provider's own where that is OpenAI's.

        Raises:
            ConfigurationError: It names no job.
            ClientClosedError: The client is closed.
        """
        self._check_open()
        self._defaults.renew_keys()
        model, job = fine_tuning.read_fine_tuning_id(id)
        return FineTuningJob(self._account(model), job)

    def _desk(self) -> Desk:
        return Desk(self._retry, self._clock, random.random, self._check_open)

    def _account(self, model: str) -> Account:
        """The account that requests to a model go to which say nothing else."""
        params = self._defaults.complete({"model": model})
        return Account.of(self._desk(), model, _provider_of(params) or "openai", params)


def _provider_of(params: Mapping[str, Any]) -> str | None:
    return litellm_door.Facts().facts(params["model"], params).provider


def _batched(endpoint: str) -> Operation:
    """What is asked for in batches.

    Raises:
        ConfigurationError: Batches do not take it.
    """
    with suppress(InvalidInputError):
        operation = operation_named(endpoint)
        if operation.name in OPERATIONS:
            return operation
    raise ConfigurationError(f"endpoint is {endpoint!r}; batches take {', '.join(OPERATIONS)}.")


def _check_metadata(metadata: Any) -> None:
    if metadata is None:
        return
    texts = isinstance(metadata, Mapping) and all(isinstance(text, str) for each in metadata.items() for text in each)
    if not texts or len(metadata) > _MOST_METADATA:
        raise ConfigurationError(f"metadata takes up to {_MOST_METADATA} texts by their names, such as {{'run': '7'}}.")
