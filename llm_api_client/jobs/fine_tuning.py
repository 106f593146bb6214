"""A fine-tuning job at a provider."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from llm_api_client.errors import ConfigurationError
from llm_api_client.jobs.account import Account
from llm_api_client.jobs.training import TrainingFile
from llm_api_client.jobs.waiting import wait_until_over

PROVIDERS = ("openai", "azure")
"""Providers whose fine-tuning LiteLLM serves as OpenAI's."""

_OVER = frozenset({"cancelled", "failed", "succeeded"})


@dataclass(frozen=True, slots=True)
class FineTuningStatus:
    """How a job stands.

    Attributes:
        state: "validating_files", "queued", "running", "succeeded", "failed" or "cancelled".
        model: Name of the model that was made, or None before it is.
        trained_tokens: Tokens that were trained on and are billed, or None before they are known.
        created_at: Seconds since the epoch when the job was made, or None.
        finished_at: Seconds since the epoch when it ended, or None.
        error: Why it failed, in the provider's words, or None.
    """

    state: str
    model: str | None = None
    trained_tokens: int | None = None
    created_at: float | None = None
    finished_at: float | None = None
    error: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing changes any more."""
        return self.state in _OVER

    def __str__(self) -> str:
        return f"{self.state}: {self.error or self.model}" if self.error or self.model else self.state


class FineTuningJob:
    """A model that a provider trains in its own time. Made by `fine_tune` and `fine_tuning_job`.

    It is taken up again by its `id`, from any process that has the key. One thread at a time may use it.
    """

    def __init__(self, account: Account, job: str, said: Mapping[str, Any] | None = None) -> None:
        self._account = account
        self._job = job
        self._said = said

    @property
    def id(self) -> str:
        """The name by which `client.fine_tuning_job` takes the job up again: the model, and the provider's id."""
        return f"{quote(self._account.model, safe='')},{quote(self._job, safe='')}"

    @property
    def model(self) -> str | None:
        """Name of the model that was made, as requests name it; None before it is. Asks the provider if need be."""
        made = self.status().model
        provider = self._account.provider
        return made if made is None or provider == "openai" else f"{provider}/{made}"

    def __repr__(self) -> str:
        return f"<FineTuningJob {self.id}>"

    def status(self) -> FineTuningStatus:
        """How the job stands, asked of the provider until it is over.

        Raises:
            APICallException: The provider does not say.
        """
        if self._said is None or not _status_of(self._said).is_over:
            self._said = self._account.call(
                "retrieve_fine_tuning_job", f"asking for {self._job}", fine_tuning_job_id=self._job
            )
        return _status_of(self._said)

    def wait(self, timeout: float | None = None, poll: float = 30.0) -> FineTuningStatus:
        """Wait until the job is over: succeeded, failed or cancelled.

        Args:
            timeout: Longest time in seconds. Default None: for ever.
            poll: Seconds before the second look; later ones are further apart, up to a minute. Default 30.

        Raises:
            BatchTimeoutError: `timeout` ended first. The job goes on.
            KeyboardInterrupt: Ctrl-C, with a text that has the job's id. The job goes on.
            APICallException: The provider does not know the job, or refuses the key.
        """
        return wait_until_over(self._account.desk, self.id, self.status, timeout=timeout, poll=poll)

    def cancel(self) -> FineTuningStatus:
        """Ask the provider to stop; what was trained by then is billed. How the job stands then.

        Raises:
            APICallException: The provider does not.
        """
        if not self.status().is_over:
            self._said = self._account.call(
                "cancel_fine_tuning_job", f"cancelling {self._job}", fine_tuning_job_id=self._job
            )
        return _status_of(self._said or {})


def begin(
    account: Account, training: TrainingFile, validation: TrainingFile | None, options: Mapping[str, Any]
) -> FineTuningJob:
    """Upload the files and start a job.

    Raises:
        APICallException: The provider does not take them; no job was made.
    """
    training_id = _uploaded(account, training, "the training file")
    more = dict(options)
    if validation is not None:
        more["validation_file"] = _uploaded(account, validation, "the validation file")

    def made() -> Any:
        jobs = account.listed("list_fine_tuning_jobs", "looking for the job")
        return next((job for job in jobs if job.get("training_file") == training_id), None)

    bare = account.model.removeprefix(f"{account.provider}/")
    said = account.call(
        "create_fine_tuning_job", "starting the job", made=made, model=bare, training_file=training_id, **more
    )
    return FineTuningJob(account, str(said["id"]), said)


def read_fine_tuning_id(text: str) -> tuple[str, str]:
    """A job's model and the provider's id of it; the model is "gpt-4o" where only the provider's id is given.

    Raises:
        ConfigurationError: It is no name of a job.
    """
    model, comma, job = text.rpartition(",")
    if not job or (comma and not model):
        message = f'this is no id of a fine-tuning job, such as "gpt-4o-mini,ftjob-abc": {text[:100]!r}'
        raise ConfigurationError(message)
    return unquote(model) or "gpt-4o", unquote(job)


def _uploaded(account: Account, file: TrainingFile, what: str) -> str:
    path = Path(file.path)
    return account.upload(path.name, path.read_bytes(), "fine-tune", f"uploading {what}")


def _status_of(said: Mapping[str, Any]) -> FineTuningStatus:
    error = said.get("error")
    message = error.get("message") if isinstance(error, Mapping) else None
    return FineTuningStatus(
        str(said.get("status")), said.get("fine_tuned_model"), said.get("trained_tokens"), said.get("created_at"),
        said.get("finished_at"), str(message) if message else None,
    )  # fmt: skip
