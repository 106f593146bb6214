"""Work that a provider does in its own time: batches of requests at half the price, and fine-tuning."""

from llm_api_client.jobs.batch import BatchJob
from llm_api_client.jobs.errors import JobNotDoneError, SubmissionError
from llm_api_client.jobs.fine_tuning import FineTuningJob, FineTuningStatus
from llm_api_client.jobs.status import BatchFault, BatchStatus
from llm_api_client.jobs.training import TrainingFile, check_training_file

__all__ = [
    "BatchFault",
    "BatchJob",
    "BatchStatus",
    "FineTuningJob",
    "FineTuningStatus",
    "JobNotDoneError",
    "SubmissionError",
    "TrainingFile",
    "check_training_file",
]
