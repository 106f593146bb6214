"""Fine-tuning: what is found wrong before anything is uploaded, and the job over real HTTP."""

import json
import tracemalloc

import pytest

from llm_api_client.errors import BatchTimeoutError, ConfigurationError, InvalidInputError, NotFoundError
from llm_api_client.jobs import TrainingFile, check_training_file
from llm_api_client.simulator import SimulatedProvider

from .conftest import KEY, paths

EXAMPLE = {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}
BASE = "openai/gpt-4o-mini-2024-07-18"


def example(**last):
    return {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"} | last]}


@pytest.fixture
def write(tmp_path):
    def _write(*lines, name="train.jsonl"):
        texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        (tmp_path / name).write_bytes(b"".join(text + b"\n" for text in texts))
        return tmp_path / name

    return _write


GOOD = [
    EXAMPLE,
    example(weight=0),
    example(content=None, tool_calls=[{"id": "1"}]),
    {"messages": [{"role": "system", "content": "s"}, *EXAMPLE["messages"]], "tools": []},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}, EXAMPLE["messages"][1]]},
]


def test_a_sound_file_is_told_by_its_size(write):
    """A file that can be trained on is said to have so many examples and bytes; a byte order mark is no fault."""
    path = write(b"\xef\xbb\xbf" + json.dumps(EXAMPLE).encode(), *GOOD, *GOOD)
    assert check_training_file(path) == TrainingFile(str(path), 11, path.stat().st_size)


FAULTS = {
    "not JSON": b"{",
    "an array": b"[1]",
    "blank": b"  ",
    "not UTF-8": b'{"messages": "\xff"}',
    '"messages" is missing': {},
    '"messages" is empty': {"messages": []},
    '"messages" is a string': {"messages": "x"},
    "messages[0] is a string": {"messages": ["x", EXAMPLE["messages"][1]]},
    "messages[0] has no role": {"messages": [{"content": "x"}, EXAMPLE["messages"][1]]},
    "messages[1] has a role that is not known": {"messages": [EXAMPLE["messages"][1], {"role": "bot", "content": "x"}]},
    'messages[1] has no "content"': example(content=None),
    'messages[1] has as "content" a number': example(content=5),
    'messages[1] has an empty "content"': example(content=""),
    'messages[1] has a "weight"': example(weight=0.5),
    "no message is the assistant's": {"messages": EXAMPLE["messages"][:1]},
}


def test_all_faults_are_named_at_once_with_their_lines(write):
    """One error names everything that is wrong, line by line, and quotes no content."""
    path = write(*GOOD, *FAULTS.values())
    with pytest.raises(InvalidInputError) as refused:
        check_training_file(path)
    told = str(refused.value).splitlines()[1:]
    assert len(told) == len(FAULTS)
    for number, (line, fault) in enumerate(zip(told, FAULTS, strict=True), len(GOOD) + 1):
        assert line.startswith(f"line {number}: ")
        assert fault in line


def test_at_most_twenty_faults_are_shown(write):
    """The rest is counted."""
    with pytest.raises(InvalidInputError, match=r"and 30 more$") as refused:
        check_training_file(write(*[{}] * 50))
    assert str(refused.value).count("\n") == 21


def test_too_few_examples_are_refused(write, tmp_path):
    """Ten at least; so is a file that is not there."""
    with pytest.raises(InvalidInputError, match="has 9 examples"):
        check_training_file(write(*[EXAMPLE] * 9))
    assert check_training_file(write(EXAMPLE), least=1).examples == 1
    with pytest.raises(InvalidInputError, match="cannot read"):
        check_training_file(tmp_path / "none")


def test_a_file_is_read_line_by_line(write):
    """However large the file, no more than a line of it is in memory."""
    path = write(*[example(content="y" * 10_000)] * 300)
    tracemalloc.start()
    try:
        check_training_file(path)
        assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 4
    finally:
        tracemalloc.stop()


def test_a_model_is_trained(client, new_client, provider, write):
    """The files go up, the job is made with all that was asked for, and ends with a model that can be asked."""
    training = write(*[EXAMPLE] * 12)
    job = client.fine_tune(
        training, BASE, validation_file=write(EXAMPLE, name="check.jsonl"), suffix="maths", seed=3,
        hyperparameters={"n_epochs": 2},
    )  # fmt: skip
    made = next(seen.body for seen in provider.requests if seen.path == "/v1/fine_tuning/jobs")
    assert (made["model"], made["suffix"], made["seed"]) == ("gpt-4o-mini-2024-07-18", "maths", 3)
    assert made["hyperparameters"] == {"n_epochs": 2}
    assert made["training_file"] != made["validation_file"]
    status = job.wait()
    assert (status.state, status.error) == ("succeeded", None)
    assert status.trained_tokens > 0
    assert job.model == status.model
    assert job.model.startswith("ft:gpt-4o-mini-2024-07-18")
    assert client.make_requests([{"model": job.model, "messages": [{"role": "user", "content": "x"}]}])[0]
    again = new_client().fine_tuning_job(job.id)
    assert again.model == job.model
    assert KEY not in repr(job) + job.id
    provider_id = job.id.partition(",")[2]
    assert new_client().fine_tuning_job(provider_id).status().state == "succeeded"


def test_nothing_is_uploaded_of_a_bad_file(client, provider, write):
    """The check comes before the first byte; models of providers without fine-tuning are refused too."""
    with pytest.raises(InvalidInputError, match="line 1"):
        client.fine_tune(write({}), BASE)
    with pytest.raises(InvalidInputError, match="line 1"):
        client.fine_tune(write(*[EXAMPLE] * 12), BASE, validation_file=write({}, name="check.jsonl"))
    with pytest.raises(InvalidInputError, match="anthropic"):
        client.fine_tune(write(*[EXAMPLE] * 12), "anthropic/claude-3-haiku-20240307")
    assert not provider.requests


def test_a_job_is_not_started_twice(client, provider, write):
    """Where the answer is lost, the job is looked for by its file before another would be made."""
    provider.next(None, "reset")
    job = client.fine_tune(write(*[EXAMPLE] * 12), BASE)
    assert sum(path == "/v1/fine_tuning/jobs" for path in paths(provider)) == 1
    assert job.wait().state == "succeeded"


def test_a_job_can_be_cancelled_and_waited_for(new_client, write):
    """Waiting ends in time and leaves the job alone; cancelling ends the job."""
    with SimulatedProvider(batch_seconds=60) as slow:
        job = new_client(base_url=slow.base_url).fine_tune(write(*[EXAMPLE] * 12), BASE)
        assert job.model is None
        with pytest.raises(BatchTimeoutError, match="ftjob"):
            job.wait(timeout=20)
        assert job.cancel().state == "cancelled"
        assert job.wait().state == job.cancel().state == "cancelled"


def test_an_unknown_job_is_not_found(client):
    """And what is no id is refused at once."""
    with pytest.raises(NotFoundError, match="Check the id"):
        client.fine_tuning_job("ftjob-none").status()
    for text in ("", ",x", "x,"):
        with pytest.raises(ConfigurationError, match="no id"):
            client.fine_tuning_job(text)
