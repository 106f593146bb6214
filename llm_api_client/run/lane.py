"""The queues before the limiters, one for each."""

from collections import deque
from collections.abc import Callable, Iterator
from math import inf

from llm_api_client.admit.limiter import Limiter, Place
from llm_api_client.run.journey import Journey


class Lane:
    """The queue before one limiter. Its first journey is the only one that asks."""

    __slots__ = ("limiter", "not_before", "place", "queue")

    def __init__(self, limiter: Limiter, wake: Callable[["Lane"], None]) -> None:
        self.limiter = limiter
        self.place = Place(lambda: wake(self))
        self.queue: deque[Journey] = deque()
        self.not_before = -inf

    def add(self, journey: Journey) -> None:
        """Put a journey behind all that are not to go after it."""
        at = len(self.queue)
        while at and self.queue[at - 1].turn > journey.turn:
            at -= 1
        self.queue.insert(at, journey)

    def leave(self) -> None:
        """Give the place in line up; the next to go asks for a new one."""
        if self.place.in_line:
            self.limiter.leave(self.place)
            self.not_before = -inf


class Lanes:
    """All lanes of one batch, used by its thread only; `wake` is called from any thread with the lane that may ask."""

    def __init__(self, wake: Callable[[Lane], None]) -> None:
        self._wake = wake
        self._lanes: dict[Limiter, Lane] = {}

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def of(self, journey: Journey) -> Lane:
        """The lane of a journey that is prepared."""
        lane = self._lanes.get(journey.limiter)
        if lane is None:
            lane = self._lanes[journey.limiter] = Lane(journey.limiter, self._wake)
        return lane

    @property
    def waiting(self) -> int:
        """Journeys in all queues."""
        return sum(len(lane.queue) for lane in self)

    def ready(self, now: float) -> Lane | None:
        """A lane whose first journey may ask now."""
        for lane in self._lanes.values():
            if lane.queue and lane.not_before <= now:
                return lane
        return None

    def are_held_up(self, now: float) -> bool:
        """Whether a journey may not ask yet."""
        return any(lane.queue and lane.not_before > now for lane in self)

    def leave(self) -> None:
        """Give every place in line up: what is not asking holds up others of the client."""
        for lane in self:
            lane.leave()

    def clear(self) -> None:
        """Forget all journeys."""
        for lane in self:
            lane.queue.clear()
