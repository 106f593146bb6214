"""The queue of submitted requests by itself: whose turn it is, and that none is overlooked."""

import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from llm_api_client.records import Result
from llm_api_client.run.submissions import Submissions
from llm_api_client.testing import FakeClock

PATIENCE = 30.0


@given(st.lists(st.tuples(st.integers(0, 200), st.sampled_from([-1, 0, 1])), min_size=2, max_size=12))
@settings(max_examples=40, deadline=None)
def test_a_level_is_worth_a_minute(submitted):
    """A request goes before one of the level above that came more than 60 seconds later: none waits for ever."""
    clock = FakeClock()
    taken = []
    queue = _submissions(clock, taken)
    expected = []
    for number, (pause, level) in enumerate(submitted):
        clock.advance(pause)
        queue.submit(number, level)
        expected.append((clock.now() - 60 * level, number))
    queue.release()
    assert taken == [number for _, number in sorted(expected)]


def _submissions(clock, taken):
    """Submissions whose batch takes all in its turn, once it is released."""
    released, done = threading.Event(), threading.Event()

    class Taking:
        def __init__(self, requests, *_):
            self.requests = requests

        def results(self):
            assert released.wait(PATIENCE)
            for _, request in iter(lambda: next(self.requests), (-1, None)):
                taken.append(request)
            done.set()
            raise SystemExit
            yield

        def give_up(self, _):
            return []

        def wake(self):
            pass

        close = wake

    def release():
        released.set()
        assert done.wait(PATIENCE)

    queue = Submissions(Taking, clock)
    queue.release = release
    return queue


def test_what_comes_when_a_batch_has_seen_that_there_is_no_more():
    """A request that comes between a batch's last look and its end is performed by another batch."""
    futures, batches, late = [], [], threading.Event()

    class Ending:
        def __init__(self, requests, *_):
            self.requests = requests
            batches.append(self)

        def results(self):
            for index, request in self.requests:
                if index < 0:
                    return
                yield Result(index, request, response=f"answer to {request}")
            if len(batches) == 1:
                futures.append(queue.submit("late", "normal"))
                late.set()

        def wake(self):
            pass

        close = wake

    queue = Submissions(Ending, FakeClock())
    assert queue.submit("early", "normal").result(PATIENCE).response == "answer to early"
    assert late.wait(PATIENCE)
    assert futures[0].result(PATIENCE).response == "answer to late"
    assert len(batches) == 2
