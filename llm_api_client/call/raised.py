"""What an exception of a call comes to: read, judged, and rid of what nobody shall see."""

from collections.abc import Collection

from llm_api_client.call.failure import forget_frames, read_failure, scrub
from llm_api_client.call.judge import Where, judge_failure
from llm_api_client.records import Verdict


def judge_raised(raised: Exception, where: Where, secrets: Collection[str], now: float) -> Verdict:
    """What an exception means; it becomes the cause of the verdict's error, without the secrets.

    Args:
        raised: What came of the call.
        where: Who was asked.
        secrets: What is shown nowhere.
        now: Seconds since the epoch, from which a date in the answer's headers is counted.
    """
    failure = read_failure(raised, now)
    verdict = judge_failure(failure, where, secrets)
    scrub(raised, secrets)
    if failure.status or failure.network or failure.timed_out:
        # The frames say nothing that the error does not, and would keep the request alive with it.
        forget_frames(raised)
    if verdict.error is not None:
        verdict.error.__cause__ = raised
    return verdict
