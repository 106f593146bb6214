"""A cache gives back what was paid for, to requests that are exactly the same, and to each an object of its own."""

import sys
import threading
from dataclasses import replace

import pytest

from llm_api_client.call import litellm_door
from llm_api_client.errors import ConfigurationError
from llm_api_client.record import cache_file
from llm_api_client.record.cache import ResponseCache
from llm_api_client.records import Usage
from llm_api_client.testing import FakeClock, ScriptedError

from .checkpoints import answer, answered, asked, changed, failed

ONE, TWO, THREE = (bytes([number]) * 16 for number in (1, 2, 3))


@pytest.fixture(params=["memory", "file"])
def place(request, tmp_path):
    """Both places at which answers can be kept."""
    return None if request.param == "memory" else tmp_path / "cache.db"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache.db"


def held(cache):
    return [number for number, identity in enumerate((ONE, TWO, THREE), 1) if cache.get(identity)]


class TestAnswers:
    def test_what_comes_out_is_what_went_in(self, place):
        """A hit has the answer, its cost, usage, latency, attempts, time, model and provider, and says what it is."""
        given = answered(
            answer("yes ✓\u2028 \ud800"), at=5.0, attempts=2, cost=0.5, usage=Usage(7, 9), provider="openai"
        )
        with ResponseCache(place) as cache:
            cache.put(ONE, given)
            found = cache.get(ONE)
        assert found == replace(given, index=-1, request=None, cached=True)

    def test_what_is_not_known_stays_unknown(self, place):
        """No price, no usage and no model are None again."""
        with ResponseCache(place) as cache:
            cache.put(ONE, answered(cost=None, usage=None, latency=None, model=None))
            found = cache.get(ONE)
        assert (found.cost, found.usage, found.latency, found.model) == (None,) * 4

    def test_names_that_utf_8_cannot_carry(self, place):
        """Half a character in a name spoils no answer; it becomes its escape."""
        with ResponseCache(place) as cache:
            cache.put(ONE, answered(model="\ud800", provider="\ud800"))
            found = cache.get(ONE)
        assert (found.model, found.provider) == ("\\ud800", "\\ud800")

    def test_litellm_s_answers_are_litellm_s_again(self, place, litellm):
        """An answer of LiteLLM's is one again, and dumps equal."""
        response = litellm.ModelResponse(**answer("yes"), id="x", created=1, model="gpt-4o-mini")
        with ResponseCache(place) as cache:
            cache.bind(litellm_door.revive)
            cache.put(ONE, answered(response))
            found = cache.get(ONE).response
        assert type(found) is litellm.ModelResponse
        assert found.model_dump() == response.model_dump()

    def test_an_answer_of_no_known_type_is_read_like_litellm_s(self, place, litellm):
        """Without what makes it again, an answer is read by the same attributes."""
        with ResponseCache(place) as cache:
            cache.put(ONE, answered(litellm.ModelResponse(**answer("yes"))))
            assert cache.get(ONE).content == "yes"

    def test_nobody_shares_an_answer(self, place):
        """What one caller does to an answer, the next does not see; nor what is done to the one that was put."""
        response = answer("yes")
        with ResponseCache(place) as cache:
            cache.put(ONE, answered(response))
            response["choices"].clear()
            cache.get(ONE).response["choices"].clear()
            assert cache.get(ONE).response == answer("yes")

    @pytest.mark.parametrize("result", [failed(), replace(answered(), response=None)], ids=["failure", "empty"])
    def test_only_answers_are_kept(self, place, result):
        """A failure is refused, and so is a result that holds nothing."""
        with ResponseCache(place) as cache:
            with pytest.raises(ValueError, match="only answers are cached"):
                cache.put(ONE, result)
            assert cache.get(ONE) is None

    @pytest.mark.parametrize(
        "response", [b"sound", {"x": float("nan")}, ScriptedError(500)], ids=["bytes", "nan", "odd"]
    )
    def test_what_json_cannot_carry_is_not_kept(self, place, caplog, response):
        """Rather no hit than one that is another answer; it is said once."""
        with ResponseCache(place) as cache:
            cache.put(ONE, answered(response))
            cache.put(TWO, answered(response))
            assert held(cache) == []
        [said] = [record.message for record in caplog.records]
        assert "has no form in JSON; such answers are not cached" in said

    def test_a_hit_grows_no_younger(self, place):
        """What came out of a cache and is put again goes when its time is over."""
        clock = FakeClock()
        with ResponseCache(place, ttl=10, clock=clock) as cache:
            cache.put(ONE, answered())
            clock.advance(9)
            cache.put(ONE, cache.get(ONE))
            clock.advance(1)
            assert cache.get(ONE) is None

    def test_the_last_answer_counts(self, place):
        """An answer takes the place of an earlier one to the same request."""
        with ResponseCache(place) as cache:
            cache.put(ONE, answered(answer("one")))
            cache.put(ONE, answered(answer("two")))
            assert cache.get(ONE).response == answer("two")
            assert len(cache) == 1


class TestBounds:
    def test_an_answer_is_given_for_its_time(self, place):
        """An answer is given until its ttl has passed since it was put, whenever it was made, and whoever uses it."""
        clock = FakeClock(1_000_000.0)
        with ResponseCache(place, ttl=10, clock=clock) as cache:
            cache.put(ONE, answered(at=1.0))
            clock.advance(9.9)
            assert cache.get(ONE) is not None
            clock.advance(0.1)
            assert cache.get(ONE) is None
            assert len(cache) == 0

    def test_what_is_past_its_time_takes_no_room(self, place):
        """Answers past their time go before any other has to."""
        clock = FakeClock()
        with ResponseCache(place, ttl=10, max_entries=2, clock=clock) as cache:
            cache.put(ONE, answered())
            clock.advance(5)
            cache.put(TWO, answered())
            cache.get(ONE)
            clock.advance(5)
            cache.put(THREE, answered())
            assert held(cache) == [2, 3]

    def test_the_least_recently_used_goes(self, place):
        """A hit keeps an answer; of the others the one used longest ago goes."""
        with ResponseCache(place, max_entries=2) as cache:
            cache.put(ONE, answered())
            cache.put(TWO, answered())
            cache.get(ONE)
            cache.put(THREE, answered())
            assert held(cache) == [1, 3]

    def test_bytes_are_bounded(self, place):
        """Answers give way to bytes too, and one that is too large by itself to none: an earlier one only goes."""
        with ResponseCache(place, max_bytes=1_500) as cache:
            for identity in (ONE, TWO, THREE):
                cache.put(identity, answered(answer("é" * 300)))
            assert held(cache) == [3]
            cache.put(TWO, answered(answer("e" * 300)))
            assert held(cache) == [2, 3]
            cache.put(THREE, answered(answer("e" * 1_500)))
            assert held(cache) == [2]

    @pytest.mark.parametrize("name", ["ttl", "max_entries", "max_bytes"])
    @pytest.mark.parametrize("value", [0, -1, True, "10", float("nan"), float("inf")])
    def test_options_that_are_none(self, name, value):
        """A bound that bounds nothing is refused by its name."""
        with pytest.raises(ConfigurationError, match=f"{name} must be a .* number above 0, or None"):
            ResponseCache(**{name: value})


class TestTheObject:
    def test_an_empty_cache_is_a_cache(self, place):
        """`cache or None` gives no cache away."""
        with ResponseCache(place) as cache:
            assert len(cache) == 0
            assert cache

    def test_it_counts(self, place):
        """Hits and misses are counted, and shown."""
        with ResponseCache(place) as cache:
            cache.get(ONE)
            cache.put(ONE, answered())
            cache.get(ONE)
            cache.get(ONE)
            assert (cache.hits, cache.misses) == (2, 1)
            assert repr(cache).endswith("2 hits, 1 misses>")

    def test_clearing(self, place):
        """After `clear` nothing is found, and all can be put anew."""
        with ResponseCache(place, max_entries=2) as cache:
            cache.put(ONE, answered())
            cache.clear()
            assert (len(cache), held(cache)) == (0, [])
            cache.put(TWO, answered())
            assert held(cache) == [2]

    def test_a_closed_cache_costs_a_warning(self, place, caplog):
        """A cache that was closed under its clients finds and keeps nothing, says so once, and raises nothing."""
        cache = ResponseCache(place)
        cache.put(ONE, answered())
        cache.close()
        cache.close()
        assert cache.get(ONE) is None
        cache.put(TWO, answered())
        cache.clear()
        assert len(cache) == 0
        assert [record.message.partition(";")[0] for record in caplog.records] == ["The cache was closed"]

    def test_threads(self, place):
        """Threads that put and get at once find whole answers, within the bounds, and are all counted."""
        switch = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        cache = ResponseCache(place, max_entries=5)
        wrong = []

        def work(seed):
            for step in range(60):
                number = (seed * 7 + step * 3) % 8
                cache.put(bytes([number]), answered(answer(str(number))))
                found = cache.get(bytes([(number + step) % 8]))
                if found is not None and found.response != answer(str((number + step) % 8)):
                    wrong.append(found)

        try:
            threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(switch)
        with cache:
            assert not wrong
            assert len(cache) == 5
            assert cache.hits + cache.misses == 360


class TestFile:
    def test_it_outlives_who_opened_it(self, path):
        """What was put is found by who opens the file next, and one file is all that is left."""
        with ResponseCache(path) as cache:
            cache.put(ONE, answered())
        with ResponseCache(str(path)) as cache:
            assert cache.get(ONE).response == answer()
        assert [file.name for file in path.parent.iterdir()] == ["cache.db"]

    def test_it_is_for_its_owner_alone(self, path):
        """Answers may be confidential: the file and what stands beside it are readable for one user."""
        with ResponseCache(path) as cache:
            cache.put(ONE, answered())
            assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}

    def test_two_objects_of_one_file(self, path):
        """What one puts, another finds at once; and what it clears is gone for both."""
        with ResponseCache(path) as first, ResponseCache(path) as second:
            first.put(ONE, answered())
            assert second.get(ONE) is not None
            second.clear()
            assert first.get(ONE) is None
            assert (len(first), len(second)) == (0, 0)

    def test_a_hit_writes_nothing(self, path, monkeypatch):
        """Hits are noted in memory, and written with the next answer, or many together."""
        monkeypatch.setattr(cache_file, "MOST_NOTES", 3)
        with ResponseCache(path) as cache:
            for identity in (ONE, TWO, THREE):
                cache.put(identity, answered())
            statements = []
            cache._shelf._connection.set_trace_callback(statements.append)
            for identity in (ONE, TWO, ONE, ONE):
                cache.get(identity)
            assert all(statement.startswith("SELECT") for statement in statements)
            order = "SELECT identity FROM entries ORDER BY used"
            assert asked(path, order) == [(ONE,), (TWO,), (THREE,)]
            cache.get(THREE)
            assert asked(path, order) == [(TWO,), (ONE,), (THREE,)]
            cache.get(TWO)
        assert asked(path, order) == [(ONE,), (THREE,), (TWO,)]

    def test_the_totals_are_the_file_s(self, path):
        """What the file counts is what is in it, also where another tool took something out."""
        with ResponseCache(path, max_entries=2) as cache:
            for identity in (ONE, TWO, THREE, THREE):
                cache.put(identity, answered(answer("é" * 50)))
            changed(path, "DELETE FROM entries WHERE used = (SELECT min(used) FROM entries)")
        sums = "SELECT count(*), sum(length(CAST(response AS BLOB))), sum(size) FROM entries"
        [(entries, size, noted)] = asked(path, sums)
        assert size == noted
        assert asked(path, "SELECT * FROM totals") == [(entries, size)] == [(1, size)]

    def test_any_tool_reads_it(self, path):
        """Answers are text in JSON."""
        with ResponseCache(path) as cache:
            cache.put(ONE, answered(answer("ja ✓")))
        question = "SELECT model, json_extract(response, '$.choices[0].message.content') FROM entries"
        assert asked(path, question) == [("m", "ja ✓")]
        assert asked(path, "PRAGMA application_id") == [(0x4C4C4D52,)]

    def test_what_is_asked_is_not_kept(self, path):
        """Neither the request nor the beginning of its prompt is in the file."""
        request = {"model": "m", "messages": [{"role": "user", "content": "who-am-i"}], "api_key": "sk-mine"}
        with ResponseCache(path) as cache:
            cache.put(ONE, replace(answered(), request=request))
        content = path.read_bytes()
        assert b"who-am-i" not in content
        assert b"sk-mine" not in content
