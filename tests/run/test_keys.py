"""What requests carry that don't say otherwise: defaults, and keys that are asked for and wear out."""

import logging
import sqlite3
import traceback
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest

from llm_api_client import APIClient, SimulatedProvider
from llm_api_client.errors import AuthenticationError, BatchTimeoutError, ConfigurationError
from llm_api_client.record.identity import identity_of
from llm_api_client.records import Kind
from llm_api_client.run.defaults import Defaults
from llm_api_client.run.keys import AskedKey, CarriedKey, key_or_asked
from llm_api_client.testing import ScriptedCalls, ScriptedError

from .conftest import contents, questions


class Vault:
    """Gives keys in order, the last for ever; what is an exception is raised."""

    def __init__(self, *keys):
        self.keys = list(keys)
        self.asked = 0

    def __call__(self):
        """Give the next key."""
        self.asked += 1
        key = self.keys.pop(0) if len(self.keys) > 1 else self.keys[0]
        if isinstance(key, BaseException):
            raise key
        return key


def lock_of(*good):
    """What a provider says of a call, by its key."""
    return lambda params: "fine" if params.get("api_key") in good else ScriptedError(401, "bad key")


def keys_of(calls):
    return [call.params.get("api_key") for call in calls.calls]


class TestAskedKeys:
    def test_the_callable_is_asked_when_the_first_key_is_needed(self, make_client):
        """Making a client asks for nothing; all requests of all batches share the one answer."""
        vault = Vault("key-one")
        client, calls = make_client(api_key=vault)
        assert vault.asked == 0
        client.make_requests(questions(20))
        client.make_requests(questions(5))
        assert vault.asked == 1
        assert keys_of(calls) == ["key-one"] * 25

    def test_nobody_asks_for_a_key_that_nobody_needs(self, make_client):
        """Requests with a key of their own, requests that are not sent, and estimates ask for none."""
        vault = Vault("key-one")
        client, calls = make_client(api_key=vault)
        client.estimate(questions(2))
        client.make_requests([*questions(3, api_key="own"), {"model": "gpt-4o-mini"}])
        assert vault.asked == 0
        assert keys_of(calls) == ["own"] * 3

    def test_what_an_old_key_was_refused_for_goes_again_with_a_new_one(self, make_client):
        """A refused key is replaced once for all requests that carried it, and that costs none of them an attempt."""
        vault = Vault("old", "new")
        client, calls = make_client([lock_of("new")] * 99, api_key=vault, max_workers=10)
        results = list(client.iter_requests(questions(30), max_retries=0))
        assert [result.error for result in results] == [None] * 30
        assert {result.attempts for result in results} == {1}
        assert vault.asked == 2
        assert keys_of(calls).count("new") == 30
        assert keys_of(calls).count("old") <= 13  # those that were admitted before the refusal was heard

    def test_a_call_that_goes_again_is_admitted_again(self, make_client):
        """The call with the new key takes its place in the limits as any other does."""
        client, calls = make_client([lock_of("new")] * 99, api_key=Vault("old", "new"), rpm=1, latency=0)
        assert contents(client.make_requests(questions(1))) == ["fine"]
        first, second = calls.calls
        assert second.at - first.at >= 60

    def test_keys_may_wear_out_again_and_again(self, make_client):
        """A key that calls were answered with is replaced when it is refused, however often that comes."""
        served = dict.fromkeys(("one", "two", "three", "four"), 0)

        def wearing_out(params):
            served[params["api_key"]] += 1
            return ScriptedError(401) if served[params["api_key"]] > 5 else "fine"

        vault = Vault(*served)
        client, _ = make_client([wearing_out] * 99, api_key=vault, max_workers=1)
        assert contents(client.make_requests(questions(20))) == ["fine"] * 20
        assert vault.asked == 4

    def test_the_same_key_again_ends_the_batch(self, make_client):
        """If the callable has nothing else to give, the refusal stands, and what was not sent is not sent."""
        vault = Vault("old")
        client, calls = make_client([ScriptedError(401, "bad key")] * 99, api_key=vault, max_workers=1)
        slots = client.make_requests_with_retries(questions(50), return_exceptions=True)
        assert all(isinstance(slot, AuthenticationError) for slot in slots)
        assert vault.asked == 2
        assert len(calls.calls) < 5
        assert "key was refused before" in str(slots[49])

    def test_a_new_key_that_is_refused_too_ends_the_batch(self, make_client):
        """A callable that gives one bad key after the other is not asked for a third."""
        vault = Vault("one", "two", "three", "four")
        client, calls = make_client([ScriptedError(401, "bad key")] * 99, api_key=vault, max_workers=1)
        slots = client.make_requests(questions(50), return_exceptions=True)
        assert all(isinstance(slot, AuthenticationError) for slot in slots)
        assert vault.asked == 2
        assert set(keys_of(calls)) == {"one", "two"}
        assert len(calls.calls) < 8

    def test_a_request_that_is_always_refused_ends(self, make_client):
        """New keys that serve others do not keep one request going for ever that no key helps."""
        minted = iter(range(1_000))
        client, calls = make_client(
            [lambda params: ScriptedError(401) if params["model"] == "closed" else "fine"] * 999,
            api_key=lambda: f"key-{next(minted)}",
            max_workers=4,
        )
        requests = [
            {**request, "model": "closed"} if i % 5 == 0 else request for i, request in enumerate(questions(40))
        ]
        answers = client.make_requests(requests)
        assert all(isinstance(failure.error, AuthenticationError) for failure in client.failures)
        assert answers[0] is None
        assert len(calls.calls) <= 40 + 8

    def test_a_new_batch_asks_for_a_new_key(self, make_client):
        """A key that was refused for good in one batch is asked for anew by the next."""
        vault = Vault("old", "old", "new")
        client, _ = make_client([lock_of("new")] * 99, api_key=vault)
        assert client.make_requests(questions(1)) == [None]
        assert contents(client.make_requests(questions(3))) == ["fine"] * 3
        assert vault.asked == 3

    def test_a_key_of_the_requests_own_is_not_replaced(self, make_client):
        """The callable is asked for its own keys only."""
        vault = Vault("good")
        client, _ = make_client([lock_of("good")] * 99, api_key=vault, max_workers=1)
        answers = client.make_requests([*questions(3, api_key="own"), *questions(2)])
        assert contents(answers) == [None, None, None, "fine", "fine"]
        assert vault.asked == 1

    def test_each_callable_is_asked_for_its_own_requests(self, make_client):
        """A model's callable replaces the client's for that model, and both are asked apart."""
        ours, theirs = Vault("ours"), Vault("theirs")
        client, calls = make_client(api_key=ours, model_defaults={"other": {"api_key": theirs}}, max_workers=1)
        client.make_requests([*questions(2), {**questions(1)[0], "model": "other"}])
        assert keys_of(calls) == ["ours", "ours", "theirs"]
        assert (ours.asked, theirs.asked) == (1, 1)


class TestFailingCallables:
    def test_what_the_callable_raises_is_in_the_slots_that_needed_it(self, make_client):
        """Each has an error of its own, with the cause; those with a key of their own are answered."""
        wrong = ConnectionError("the vault is shut")
        vault = Vault(wrong)
        client, calls = make_client(api_key=vault, max_workers=2)
        slots = client.make_requests_with_retries([*questions(9), *questions(2, api_key="own")], return_exceptions=True)
        assert all(isinstance(slot, ConfigurationError) and slot.__cause__ is wrong for slot in slots[:9])
        assert [slot.index for slot in slots[:9]] == list(range(9))
        assert contents(slots[9:]) == ["An answer."] * 2
        assert vault.asked == 1
        assert keys_of(calls) == ["own", "own"]
        assert {failure.attempts for failure in client.failures} == {0}

    def test_a_new_batch_asks_a_callable_that_failed_again(self, make_client):
        """What was shut then may be open now."""
        client, _ = make_client(api_key=Vault(OSError("shut"), "key-one"))
        assert client.make_requests(questions(2)) == [None, None]
        assert None not in client.make_requests(questions(2))

    def test_a_callable_that_fails_when_asked_again_says_so(self, make_client):
        """The slot of a request that was refused has the reason that there is no other key."""
        wrong = OSError("shut")
        client, _ = make_client([lock_of("new")] * 9, api_key=Vault("old", wrong), max_workers=1)
        (slot,) = client.make_requests(questions(1), return_exceptions=True)
        assert isinstance(slot, ConfigurationError)
        assert slot.__cause__ is wrong
        assert client.failures[0].attempts == 1

    def test_nothing_stays_reserved_for_what_could_not_be_sent(self, make_client):
        """An admission that no key was found for is given back to the limits, and the money too."""
        vault = Vault(OSError("shut"), "key-one")
        client, calls = make_client(api_key=vault, rpm=2, latency=0, max_cost=1e-3)
        client.make_requests(questions(2, max_tokens=500))
        assert None not in client.make_requests(questions(2, max_tokens=500))
        assert calls.calls[-1].at < 60

    @pytest.mark.parametrize("answer", ["", "  ", None, b"key", 7])
    def test_what_is_no_key_is_said_to_be_none(self, make_client, answer):
        """A callable must give a non-empty string; what it gave is not shown."""
        client, calls = make_client(api_key=lambda: answer)
        (slot,) = client.make_requests(questions(1), return_exceptions=True)
        assert isinstance(slot, ConfigurationError)
        assert "must give a non-empty string" in slot.message
        assert calls.calls == []

    @pytest.mark.parametrize("key", ["", " ", 7, b"key", ["key"]])
    def test_an_option_that_is_no_key_is_refused_at_once(self, key):
        """`api_key` is a non-empty string or a callable, for the client and for models."""
        with pytest.raises(ConfigurationError, match=r"api_key is .*; give a non-empty string"):
            APIClient(api_key=key, api_call=ScriptedCalls())
        with pytest.raises(ConfigurationError, match=r"model_defaults\['m'\]: api_key is "):
            APIClient(model_defaults={"m": {"api_key": key}}, api_call=ScriptedCalls())

    def test_an_end_of_the_program_is_obeyed(self, make_client):
        """What is raised to end the program ends the batch, also out of the callable."""
        client, calls = make_client(api_key=Vault(SystemExit(3)), max_workers=1)
        with pytest.raises(SystemExit):
            client.make_requests(questions(3))
        assert calls.calls == []

    def test_nothing_is_sent_once_the_batch_is_over(self):
        """A key that comes after the batch's timeout is used for none of its calls."""
        asked, open_now, calls = Event(), Event(), ScriptedCalls()

        def slow():
            asked.set()
            open_now.wait(10)
            return "key-one"

        with APIClient(None, None, api_call=calls, api_key=slow) as client:
            slots = client.make_requests(questions(3), timeout=0.05, return_exceptions=True)
            assert asked.is_set()
            assert all(isinstance(slot, BatchTimeoutError) for slot in slots)
            open_now.set()
            assert client._defaults.complete({"model": "m"})["api_key"].get() == "key-one"
            assert None not in client.make_requests(questions(2, api_key="own"))
        assert keys_of(calls) == ["own", "own"]


class TestManyThreads:
    def test_one_refused_key_is_replaced_once(self):
        """Batches in many threads, all refused with the old key at the same moment, ask for one new key."""
        vault, together = Vault("old", "new", "newest"), Barrier(8, timeout=20)

        def call(**params):
            if params["api_key"] == "old":
                together.wait()
                raise ScriptedError(401)
            return "fine"

        with APIClient(None, None, api_call=call, api_key=vault) as client, ThreadPoolExecutor(8) as pool:
            batches = [pool.submit(client.make_requests, questions(1)) for _ in range(8)]
            assert [batch.result() for batch in batches] == [["fine"]] * 8
        assert vault.asked == 2

    def test_who_needs_the_key_waits_for_the_one_who_asks(self):
        """A callable that takes its time is asked once, whoever else comes meanwhile."""
        begun, go_on, asked = Event(), Event(), []

        def slow():
            asked.append(1)
            begun.set()
            assert go_on.wait(10)
            return "key-one"

        key = AskedKey(slow)
        with ThreadPoolExecutor(5) as pool:
            first = pool.submit(key.get)
            assert begun.wait(10)
            others = [pool.submit(key.get) for _ in range(4)]
            assert key.current is None
            go_on.set()
            assert {waiting.result() for waiting in [first, *others]} == {"key-one"}
        assert asked == [1]

    def test_a_late_refusal_of_an_old_key_asks_for_nothing(self):
        """A call that was under way with the key before last goes again with the one that there is."""
        vault = Vault("one", "two", "three")
        key = AskedKey(vault)
        assert key.get() == "one"
        assert key.another("one", Kind.KEY_REFUSED)
        assert key.another("one", Kind.KEY_REFUSED)
        assert not key.another("two", Kind.KEY_REFUSED)
        assert key.another("one", Kind.KEY_REFUSED)
        key.renew()
        assert key.get() == "three"

    def test_only_an_answer_shows_that_a_key_served(self):
        """A failure of another kind says nothing of the key, and an answer to an older key nothing of this one."""
        key = AskedKey(Vault("one", "two", "three"))
        key.get()
        key.another("one", Kind.KEY_REFUSED)
        key.another("two", Kind.TRANSIENT)
        key.another("one", Kind.ANSWERED)
        assert not key.another("two", Kind.KEY_REFUSED)
        key.another("two", Kind.INVALID)
        assert key.another("two", Kind.KEY_REFUSED)
        assert key.current == "three"

    def test_the_same_key_again_did_not_serve_by_being_answered_elsewhere(self):
        """A key that was refused and given again is refused for good, whatever else is answered with it."""
        vault = Vault("one", "one", "two")
        key = AskedKey(vault)
        key.get()
        assert not key.another("one", Kind.KEY_REFUSED)
        key.another("one", Kind.ANSWERED)
        assert not key.another("one", Kind.KEY_REFUSED)
        assert vault.asked == 2

    def test_a_request_goes_again_once(self):
        """The second key that is refused to a request ends it, though others are answered with that key."""
        key = AskedKey(Vault("one", "two", "three"))
        carried = CarriedKey({"api_key": key})
        assert carried.goes_again(carried.params_to_send(), Kind.KEY_REFUSED)
        sent = carried.params_to_send()
        key.another("two", Kind.ANSWERED)
        assert not carried.goes_again(sent, Kind.KEY_REFUSED)
        assert key.current == "three"

    def test_a_request_that_ended_is_known_by_the_key_that_was_refused(self):
        """What a batch learns of a refusal is of the key that was sent, not of the one that came after."""
        key = AskedKey(Vault("one", "one", "two"))
        carried = CarriedKey({"api_key": key})
        assert carried.current is None
        assert not carried.goes_again(carried.params_to_send(), Kind.KEY_REFUSED)
        key.renew()
        assert key.get() == "two"
        assert carried.current == "one"
        assert CarriedKey({"api_key": key}).current == "two"


class TestSecrecy:
    def test_a_key_that_was_asked_for_is_shown_nowhere(self, tmp_path, caplog):
        """No log, repr, history, checkpoint, exception or cause holds a key that the callable gave."""
        old, new = "first-hidden-word", "second-hidden-word"

        def vault():
            if asked:
                message = f"{old} is no longer good"
                raise PermissionError(message)
            asked.append(1)
            return old

        def call(**params):
            message = f"{params['api_key']} was refused"
            raise ScriptedError(401, message)

        asked, path = [], tmp_path / "answers.db"
        caplog.set_level(logging.DEBUG)
        shown = []
        for ask in (vault, Vault(old, new)):
            with APIClient(api_call=call, api_key=ask, checkpoint=path, progress=False) as client:
                slots = client.make_requests(questions(2), return_exceptions=True)
                shown += [repr(client), repr(vars(client)), str(client.details), repr(client.failures)]
                shown += [str(list(client.history)), repr(client._defaults._shared)]
            shown += [part for slot in slots for part in [*traceback.format_exception(slot), str(slot.to_dict())]]
        connection = sqlite3.connect(path)
        shown.append("".join(connection.iterdump()))
        connection.close()
        shown += [record.getMessage() for record in caplog.records]
        text = "".join(shown)
        assert "PermissionError" in text
        assert old not in text
        assert new not in text

    def test_a_checkpoint_knows_a_request_whatever_its_key(self, make_client, tmp_path):
        """The identity does not depend on the key, nor on how it is had."""
        client, _ = make_client(api_key=Vault("key-one"), checkpoint=tmp_path / "answers.db")
        client.make_requests(questions(2))
        client.close()
        for key in (None, "another", Vault("third")):
            client, calls = make_client(api_key=key, checkpoint=tmp_path / "answers.db")
            assert None not in client.make_requests(questions(2))
            client.close()
            assert calls.calls == []
        assert identity_of({"api_key": AskedKey(Vault("x")), "model": "m"}) == identity_of({"model": "m"})

    def test_a_key_is_replaced_at_a_real_provider(self):
        """Over HTTP, through LiteLLM and without it: what the provider refuses with 401 goes again with a new key."""
        vault = Vault("sk-old", "sk-new")
        with (
            SimulatedProvider(api_keys=["sk-new"]) as provider,
            APIClient(base_url=provider.base_url, api_key=vault, max_workers=4) as client,
        ):
            assert None not in client.make_requests(questions(20))
            assert provider.counts.answered == 20
        assert vault.asked == 2


def complete(request, by_model=None, **shared):
    return Defaults(shared, by_model or {}).complete({"model": "m", **request})


class TestDefaults:
    def test_the_request_wins_over_its_model_and_that_over_the_client(self):
        """Each level fills in what those above leave open."""
        by_model = {"m": {"temperature": 0, "timeout": 5}, "other": {"seed": 1}}
        filled = complete({"temperature": 1}, by_model, timeout=3, api_key="client")
        assert filled == {"model": "m", "temperature": 1, "timeout": 5, "api_key": "client"}
        assert complete({"model": "free"}, by_model, timeout=3) == {"model": "free", "timeout": 3}

    @pytest.mark.parametrize(
        ("one", "other"),
        [("base_url", "api_base"), ("max_tokens", "max_completion_tokens"), ("timeout", "request_timeout")],
    )
    def test_two_names_of_one_parameter_are_one(self, one, other):
        """Who gives a parameter by one name is not given the default by the other."""
        assert complete({one: 1}, **{other: 2}) == {"model": "m", one: 1}
        assert complete({}, {"m": {other: 1}}, **{one: 2}) == {"model": "m", other: 1}

    def test_a_key_given_with_an_address_goes_to_no_other(self):
        """A base URL that wins over another leaves that one's key behind; a key without an address goes anywhere."""
        a, b, c = ({"base_url": f"http://{name}"} for name in "abc")
        bound = {**a, "api_key": "bound"}
        assert complete(b, **bound) == {"model": "m", **b}
        assert complete(a, **bound) == {"model": "m", **bound}
        assert complete({"api_base": "http://a"}, **bound) == {"model": "m", "api_base": "http://a", "api_key": "bound"}
        assert complete({**b, "api_key": "own"}, **bound) == {"model": "m", **b, "api_key": "own"}
        assert complete(b, api_key="free") == {"model": "m", **b, "api_key": "free"}
        assert complete({}, {"m": b}, **bound) == {"model": "m", **b}
        assert complete({}, {"m": b}, api_key="free") == {"model": "m", **b, "api_key": "free"}
        assert complete(c, {"m": b}, api_key="free") == {"model": "m", **c, "api_key": "free"}
        assert complete({}, {"m": {"api_key": "model's"}}, **bound) == {"model": "m", **a, "api_key": "model's"}
        assert complete(c, {"m": {"api_key": "model's"}}, **bound) == {"model": "m", **c, "api_key": "model's"}
        assert complete(c, {"m": {**b, "api_key": "model's"}}, **bound) == {"model": "m", **c}

    def test_defaults_are_the_clients_own(self):
        """What the caller does later to the mapping that was given changes nothing."""
        given = {"temperature": 0}
        defaults = Defaults({}, {"m": given})
        given["temperature"] = 1
        assert defaults.complete({"model": "m"}) == {"model": "m", "temperature": 0}

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ("temperature", "is a str; give a dict"),
            ({"model": "other"}, 'has "model"'),
            ({"messages": []}, 'has "messages"'),
            ({"fallbacks": ["other"]}, "no limit has admitted"),
            ({"temperature": float("nan")}, "temperature is NaN"),
            ({1: 2}, "parameter names are strings"),
        ],
    )
    def test_what_no_request_could_have_is_refused_at_once(self, given, said):
        """Defaults are checked when the client is made, as requests are when they are sent."""
        with pytest.raises(ConfigurationError) as caught:
            APIClient(model_defaults={"m": given}, api_call=ScriptedCalls())
        assert said in caught.value.message
        assert "model_defaults['m']" in caught.value.message

    def test_a_models_parameters_reach_its_calls(self, make_client):
        """The defaults of a model are sent, and only with its requests."""
        client, calls = make_client(model_defaults={"gpt-4o-mini": {"seed": 7}}, request_timeout=3, max_workers=1)
        client.make_requests([*questions(1), {**questions(1)[0], "model": "gpt-4o"}, *questions(1, seed=8)])
        assert [call.params.get("seed") for call in calls.calls] == [7, None, 8]
        assert {call.params["timeout"] for call in calls.calls} == {3}
        assert "seed" not in client.history[0]["request"]

    def test_an_estimate_is_of_what_would_be_sent(self, make_client):
        """A bound on the answer that a model's requests are given holds for their estimate too."""
        client, _ = make_client(model_defaults={"gpt-4o-mini": {"max_tokens": 7}})
        assert client.estimate(questions(2)).answer_tokens_high == 14

    def test_a_key_stays_itself(self):
        """A string is used as it is given."""
        assert key_or_asked("key") == "key"
