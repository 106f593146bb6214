"""What requests would cost and take, told without sending any."""

import json
import logging
import weakref
from collections.abc import Mapping
from typing import Any

import pytest

from llm_api_client.admit.limits import Limits
from llm_api_client.admit.rates import RateLimit
from llm_api_client.call import litellm_door
from llm_api_client.errors import APICallException, InvalidInputError
from llm_api_client.prepare.preparer import Preparer
from llm_api_client.records import ModelFacts, Usage
from llm_api_client.run.defaults import Defaults
from llm_api_client.run.estimate import ASSUMED_ANSWER_TOKENS, Estimate, ModelEstimate, estimate
from llm_api_client.run.estimate_text import COLUMNS, FEW
from llm_api_client.testing import FakeClock

from .conftest import questions

KNOWN = {
    "small": ModelFacts(
        "small", "acme", known=True, supported_params=frozenset({"max_tokens", "n"}), max_input_tokens=100,
        max_output_tokens=300, shared_window=False,
    ),
    "acme/large": ModelFacts("acme/large", "acme", known=True, supported_params=frozenset({"max_completion_tokens"})),
    "homeless": ModelFacts("homeless"),
    "mute": ModelFacts("mute", max_output_tokens=0),
}  # fmt: skip


class Door:
    """Knows the models above; a word is a token, and `homeless` has no tokenizer."""

    def facts(self, model: str, params: Mapping[str, Any]) -> ModelFacts:
        """Those above; of a server of its own only the name, which is the server's."""
        elsewhere = params.get("api_base") or params.get("base_url")
        return ModelFacts(model, elsewhere) if elsewhere else KNOWN.get(model, ModelFacts(model))

    def count_tokens(self, model: str, messages: Any, tools: Any = None) -> int:
        """Its words."""
        if model == "homeless":
            raise LookupError("no tokenizer")
        texts = [message["content"] for message in messages]
        texts = [text if isinstance(text, str) else " ".join(part.get("text", "") for part in text) for text in texts]
        return sum(len(text.split()) for text in texts)

    def max_input_tokens(self, model: str) -> int | None:
        """As above."""
        return KNOWN[model].max_input_tokens if model in KNOWN else None


def price(model: str, usage: Usage) -> float | None:
    """A dollar for a token of a prompt, ten for one of an answer, by the name with the provider only."""
    if model == "free/model":
        return 0.0
    return usage.prompt_tokens + 10.0 * usage.completion_tokens if model.startswith("acme/") else None


def ask(words: int = 5, model: str = "small", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "word " * words}], **more}


@pytest.fixture
def told():
    """An estimate of requests by the door and the prices above, without limits unless there are some."""

    def _told(*requests, limits=None, rpm=None, tpm=None, **options) -> Estimate:
        source = requests[0] if len(requests) == 1 and not isinstance(requests[0], Mapping) else requests
        return estimate(
            source,
            preparer=Preparer(Door(), environ={}, logger=logging.getLogger("quiet")),
            door=Door(),
            price=price,
            limits=limits or Limits(RateLimit(rpm, tpm), {}, FakeClock()),
            **options,
        )

    return _told


class TestTokens:
    def test_a_bound_is_the_most(self, told):
        """An answer is at least one token, and at most what the request allows; `n` answers are so many times that."""
        sums = told(ask(5, max_tokens=20), ask(7, max_tokens=30, n=3)).total
        assert (sums.requests, sums.prompt_tokens, sums.assumed) == (2, 12, 0)
        assert (sums.answer_tokens_low, sums.answer_tokens_high) == (1 + 3, 20 + 90)

    def test_without_a_bound_one_is_assumed_and_said(self, told):
        """Where nothing bounds an answer, 500 tokens are assumed, or what the caller says, or the model's most."""
        for options, high in (({}, 300), ({"answer_tokens": 50}, 50), ({"answer_tokens": 301}, 300)):
            sums = told(ask(), **options).total
            assert (sums.answer_tokens_high, sums.assumed) == (high, 1)
        assert told(ask(model="acme/large")).answer_tokens_high == ASSUMED_ANSWER_TOKENS == 500
        assert told(ask(n=2), answer_tokens=50).answer_tokens_high == 100
        text = str(told(ask(), ask(), ask(max_tokens=3), answer_tokens=70))
        assert "at most max_tokens, or an assumed 70 for the 2 requests that set none" in " ".join(text.split())

    def test_the_least_is_never_above_the_most(self, told):
        """A bound of one token is both; a table that gives a model no tokens at all knows nothing of it."""
        sums = told(ask(max_tokens=1)).total
        assert sums.answer_tokens_low == sums.answer_tokens_high == 1
        assert told(ask(model="mute")).answer_tokens_high == ASSUMED_ANSWER_TOKENS

    def test_what_would_be_cut_is_counted_as_it_would_be_sent(self, told):
        """A truncated prompt counts with what is left of it, and is named with what it had; the request stays."""
        request = ask(250)
        found = told(ask(), request)
        (cut,) = found.cuts
        assert (cut.index, cut.tokens) == (1, 250)
        assert cut.left <= 100
        assert found.prompt_tokens == 5 + cut.left
        assert found.total.truncated == 1
        assert request == ask(250)
        assert f"request 1: from 250 to {cut.left} tokens" in found.problems[0]

    def test_as_it_is_means_as_it_is(self, told):
        """Without sanitizing nothing is cut and nothing dropped."""
        sums = told(ask(250, temperature=1), sanitize=False).total
        assert (sums.prompt_tokens, sums.truncated, sums.dropped) == (250, 0, {})

    @pytest.mark.parametrize(
        "request_",
        [
            ask(model="homeless"),
            {"model": "acme/large", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        ],
        ids=["no tokenizer", "an image"],
    )
    def test_an_estimated_prompt_says_so(self, told, request_):
        """Tokens of images, and of models whose tokenizer is not here, are an estimate, and are said to be one."""
        found = told(ask(), request_)
        assert found.total.estimated == 1
        assert "Prompt tokens are an estimate" in str(found)
        assert "estimate" not in str(told(ask()))

    def test_dropped_parameters_are_counted_by_model(self, told):
        """What a model does not take is named with the number of requests; a bound that is renamed is not dropped."""
        found = told(
            ask(temperature=0), ask(temperature=1, seed=2), ask(model="acme/large", max_tokens=9, temperature=1)
        )
        assert found.by_model["small"].dropped == {"temperature": 2, "seed": 1}
        assert found.by_model["acme/large"].dropped == {"temperature": 1}
        assert found.by_model["acme/large"].answer_tokens_high == 9
        assert "small: seed (1 request), temperature (2 requests)" in str(found)


class TestCost:
    def test_the_cost_is_the_prompt_s_and_the_answer_s(self, told):
        """The least is for the prompt and the shortest answer, the most for the longest, summed over all."""
        found = told(ask(5, max_tokens=20), ask(7, "acme/large", max_completion_tokens=30))
        assert (found.cost_low, found.cost_high) == (5 + 10 + 7 + 10, 5 + 200 + 7 + 300)
        assert found.by_model["small"].cost_high == 205
        assert "Cost: from $32.00 to $512.00." in str(found)

    def test_an_unknown_price_is_no_zero(self, told):
        """Requests without a price are counted, named, and in no sum; with no price at all there is no cost."""
        found = told(ask(max_tokens=1), ask(model="nobody's"), ask(model="nobody's"))
        assert (found.unpriced, found.cost_low, found.cost_high) == (2, 15.0, 15.0)
        assert found.by_model["nobody's"].cost_high is None
        assert "2 requests to nobody's" in str(found)
        assert "as far as prices are known" in str(found)
        nothing = told(ask(model="nobody's"))
        assert nothing.cost_low is nothing.cost_high is None
        assert "Cost: not known." in str(nothing)

    def test_a_price_of_nothing_is_said(self, told):
        """What is priced at $0 may be free or unknown, and is named."""
        found = told(ask(model="free/model"))
        assert (found.cost_high, found.total.zero_priced, found.unpriced) == (0.0, 1, 0)
        assert "1 request to free/model" in str(found)

    def test_a_request_s_own_server_wins_over_the_client_s(self, told):
        """Prices are those of the provider that would be asked: the client's, unless the request says otherwise."""
        complete = Defaults({"api_base": "free"}, {}).complete
        assert told(ask(model="model"), complete=complete).total.zero_priced == 1
        assert told(ask(model="model", base_url="acme", max_tokens=1), complete=complete).cost_high == 15
        assert told(ask(model="model", api_base="acme", max_tokens=1), complete=complete).cost_high == 15

    def test_prices_are_litellm_s_by_provider(self, litellm):
        """A name costs what its provider asks, which may stand before it; of a server's own model no price is known."""
        door = litellm_door.Facts()

        def cost(model: str, **more: Any) -> float | None:
            found = estimate(
                [ask(1_000, model, max_tokens=1_000, **more)],
                preparer=Preparer(door, logger=logging.getLogger("quiet")),
                door=door,
                price=litellm_door.price,
                limits=Limits(RateLimit(), {}, FakeClock()),
            )
            return found.cost_high

        assert cost("gpt-4o-mini") == cost("openai/gpt-4o-mini") == pytest.approx(0.00075, rel=0.02)
        assert cost("gpt-4o-mini", custom_llm_provider="hosted_vllm") is None
        assert cost("hosted_vllm/gpt-4o-mini") is None
        assert cost("openai/llama-3", api_base="http://localhost:8000/v1") is None


class TestTime:
    def test_it_is_the_engine_s(self, told, make_client):
        """The last call of a real batch starts when the estimate says."""
        client, calls = make_client(rpm=30, latency=0.0)
        client.make_requests(questions(70))
        found = told(questions(70), rpm=30)
        assert found.seconds_low == pytest.approx(calls.calls[-1].at, abs=0.5)
        assert found.seconds_low == found.seconds_high

    def test_long_answers_take_longer_where_tokens_are_limited(self, told):
        """The least is for short answers, the most for long ones."""
        found = told([ask(10, max_tokens=90)] * 100, tpm=1_000)
        assert found.seconds_low == pytest.approx(0.979**-1 * 60 * 1.1, rel=0.1)
        assert found.seconds_high == pytest.approx(0.979**-1 * 60 * 10, rel=0.1)

    def test_without_limits_there_is_none(self, told):
        """No limits impose nothing, which is not zero seconds; limits on other models are no limits."""
        assert told(ask()).seconds_low is told(ask()).seconds_high is None
        elsewhere = Limits(RateLimit(), {"acme/large": RateLimit(1)}, FakeClock())
        assert told(ask(), ask(), limits=elsewhere).seconds_high is None

    def test_limits_of_models_hold_at_the_same_time(self, told):
        """Models with limits of their own wait beside each other: the slowest says how long."""
        limits = Limits(RateLimit(), {"small": RateLimit(1), "acme/large": RateLimit(2)}, FakeClock())
        both = [ask(), ask(), ask(), ask(model="acme/large"), ask(model="acme/large"), ask(model="acme/large")]
        assert told(both, limits=limits).seconds_high == told(both[:3], limits=limits).seconds_high > 120

    def test_no_limit_is_used_up(self, told):
        """What is estimated is not charged: the client may still send all that it could before."""
        limits = Limits(RateLimit(2), {}, FakeClock())
        told([ask()] * 10, limits=limits)
        assert limits.of("small")._gauges[0].window.used == 0


class TestRefused:
    def test_a_bad_request_spoils_only_itself(self, told):
        """What could not be sent is named by its position with the reason, and the others are counted."""
        found = told(ask(), {"model": "small"}, "text", ask(max_tokens=200), ask(model=""), ask(), tpm=100)
        assert [(error.index, type(error).__name__) for error in found.refusals] == [
            (1, "InvalidInputError"),
            (2, "InvalidInputError"),
            (3, "RequestTooLargeError"),
            (4, "InvalidInputError"),
        ]
        assert (found.refused, found.requests, found.prompt_tokens) == (4, 2, 10)
        assert 'request 1: the request has no "messages"' in found.problems[0]

    def test_what_the_model_cannot_hold_is_refused_if_it_may_not_be_cut(self, told):
        """Whatever preparing refuses is refused here."""
        preparer = Preparer(Door(), on_context_overflow="error", environ={})
        found = estimate(
            [ask(250)], preparer=preparer, door=Door(), price=price, limits=Limits(RateLimit(), {}, FakeClock())
        )
        assert isinstance(found.refusals[0], APICallException)

    def test_the_first_are_named_and_all_are_counted(self, told):
        """Of many that are refused or cut, a few are kept, and the text says how many more there are."""
        found = told([*({} for _ in range(100)), *(ask(250) for _ in range(100))])
        assert (found.refused, len(found.refusals)) == (100, FEW)
        assert (found.total.truncated, len(found.cuts)) == (100, FEW)
        assert str(found).count(f"and {100 - FEW} more") == 2

    def test_a_single_request_is_no_list(self, told):
        """What is no list of requests at all raises, as it does where they are sent."""
        with pytest.raises(InvalidInputError, match=r"\[request\]"):
            estimate(ask(), preparer=Preparer(Door()), door=Door(), price=price, limits=None)


class TestReading:
    def test_requests_are_read_once_and_none_is_kept(self, told):
        """A generator will do, and what was read is forgotten before the next but one is: refused ones too."""

        class Request(dict):
            pass

        alive = weakref.WeakSet()
        most = 0

        def read():
            nonlocal most
            for i in range(50):
                request = Request(ask() if i % 2 else {"no": "model"})
                request["messages"] = messages = Messages(request.get("messages", ()))
                alive.add(messages)
                del messages
                yield request
                del request
                most = max(most, len(alive))

        class Messages(list):
            __hash__ = object.__hash__

        assert told(read()).requests == 25
        assert most <= 2


class TestWords:
    @pytest.mark.parametrize("models", [1, 2, 50])
    def test_the_report_fits_80_columns(self, models):
        """However long the names, however many models and however large the sums: at most 80 columns."""
        sums = ModelEstimate(
            1_000_000, 9_876_543_210, 1_000_000, 123_456_789_012, 1_234.56, 23_456.78,
            unpriced=3, zero_priced=4, assumed=900_000, estimated=5, truncated=6, dropped={"frequency_penalty": 77},
        )  # fmt: skip
        found = Estimate({f"provider/{i}/{'very-' * 20}long": sums for i in range(models)}, 1e4, 1e6, 1, ())
        assert max(map(len, str(found).splitlines())) <= COLUMNS
        assert "…" in str(found)

    def test_it_says_the_range(self):
        """Costs and times are from the least to the most, and one figure where they are the same."""
        sums = ModelEstimate(1, cost_low=0.03, cost_high=0.41)
        text = str(Estimate({"m": sums}, 61.0, 7_200.0))
        assert "Cost: from $0.03 to $0.41." in text
        assert "Time: from 1 min 1 s to 2 h, by the limits alone." in text
        text = str(Estimate({"m": ModelEstimate(1, cost_low=0.00001, cost_high=0.00002)}, 0.2, 0.3))
        assert "Cost: $0.0001." in text
        assert "Time: 0 s, by" in text

    def test_nothing_asked_is_nothing_told(self, told):
        """No requests cost and take nothing, and that has words too."""
        assert told([]).requests == 0
        assert "all" in str(told([]))

    def test_the_caller_names_requests(self, told):
        """A report names requests as its reader knows them."""
        assert "  line 7: the request has no" in told({}).report(lambda index: f"line {index + 7}")

    def test_it_is_plain_data_too(self, told):
        """The whole of an estimate goes through JSON."""
        found = told(ask(temperature=0), {}, ask(250), rpm=10)
        data = json.loads(json.dumps(found.to_dict()))
        assert data["total"]["cost_high"] == found.cost_high
        assert data["by_model"]["small"]["dropped"] == {"temperature": 1}
        assert data["refusals"][0]["index"] == 1
        assert data["cuts"] == [{"index": 2, "tokens": 250, "left": found.cuts[0].left}]
        assert data["seconds_low"] == found.seconds_low
