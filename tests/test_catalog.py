"""The catalog: LiteLLM's table of models, as requests name them, without network and without a made-up figure."""

import json
import math
import socket
from datetime import date

import pytest

from llm_api_client.call.litellm_door import Facts, Table, price
from llm_api_client.catalog import Catalog, ModelInfo, dollars
from llm_api_client.errors import InvalidInputError
from llm_api_client.records import Usage

WITH_LOGIN = {"chatgpt", "github_copilot"}
"""LiteLLM begins a login where it is asked for the provider or a price of theirs."""
PRICED_BY_TOKENS = ["anthropic", "bedrock", "dashscope", "gemini", "groq", "mistral", "openai", "vertex_ai"]


@pytest.fixture(scope="module")
def catalog(litellm):
    """One for all tests that only read: finding thousands of providers takes longer than they do."""
    return Catalog(Table())


@pytest.fixture
def attempts(monkeypatch, tmp_path):
    """Attempts to reach the network, all refused; the home folder is an empty one."""
    made = []

    def refuse(*arguments, **_):
        made.append(arguments)
        raise OSError("a test must not touch the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for variable in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    return made


class _MadeUpTable:
    """A table of two providers, which are found by the word before the slash."""

    def __init__(self, rows):
        self._rows = rows

    def rows(self):
        return self._rows

    def provider(self, name):
        provider, slash, _ = name.partition("/")
        return provider if slash and provider in {"acme", "big_co"} else None

    def supported_params(self, name, mode):
        return None

    def shares_window(self, name):
        return "apart" not in name


def made_up(**rows):
    """A catalog of rows; two underscores in a keyword are a slash."""
    return Catalog(_MadeUpTable({key.replace("__", "/"): row for key, row in rows.items()}))


def acme(**row):
    """What the catalog says of one model whose row this is."""
    return made_up(acme__m={"litellm_provider": "acme", **row}).model_info("acme/m")


class TestListing:
    def test_lists_are_sorted_and_name_each_once(self, catalog):
        """Providers and models are sorted and unique, and every model is one of exactly one provider's."""
        providers, models = catalog.providers(), catalog.models()
        assert providers == sorted(set(providers))
        assert models == sorted(set(models))
        assert {"anthropic", "openai", "vertex_ai"} <= set(providers)
        assert "gpt-4o-mini" in models
        counts = catalog.counts()
        assert list(counts) == providers
        assert sum(counts.values()) == len(models)
        for provider in providers[::10]:
            assert len(catalog.models(provider)) == counts[provider] > 0

    def test_a_listed_name_leads_litellm_to_its_provider(self, catalog, litellm):
        """A request that names a listed model reaches the provider under which the model is listed."""
        for provider in set(catalog.providers()) - WITH_LOGIN:
            assert {litellm.get_llm_provider(model)[1] for model in catalog.models(provider)} == {provider}

    def test_every_listed_model_can_be_asked_for(self, catalog):
        """Each listed model has its information, by its name alone and with its provider."""
        infos = catalog.infos(catalog.models())
        assert [info.model for info in infos] == catalog.models()
        for info in infos:
            assert catalog.model_info(info.provider, info.model).model == info.model
        assert [catalog.model_info(info.model) for info in infos[::20]] == infos[::20]

    def test_modes_divide_the_models(self, catalog):
        """A mode lists the models that have it, of one provider or of all."""
        embedding = catalog.models(mode="embedding")
        assert {info.mode for info in catalog.infos(embedding)} == {"embedding"}
        assert embedding == [info.model for info in catalog.infos(catalog.models()) if info.mode == "embedding"]
        assert catalog.models("openai", mode="embedding") == sorted(set(embedding) & set(catalog.models("openai")))
        assert sum(catalog.counts("embedding").values()) == len(embedding)

    def test_rows_that_are_no_models_are_left_out(self):
        """What prices image sizes, commitments or classes of models, or cannot be named by a request, is not listed."""
        no_models = [
            "acme/1024-x-1024/m", "acme/hd/max-x-max/m", "acme/us/1-month-commitment/m", "together-ai-4.1b-8b",
            "fireworks-ai-default", "sample_spec",
        ]  # fmt: skip
        rows = {key: {"litellm_provider": "acme"} for key in ["acme/m", *no_models]}
        assert Catalog(_MadeUpTable(rows | {"else/m": {"litellm_provider": "else"}})).models() == ["acme/m"]

    def test_a_bare_row_is_listed_with_its_provider(self):
        """A row that no request can name gets its provider before it, unless there is a row of that name already."""
        catalog = made_up(
            m={"litellm_provider": "acme", "mode": "bare"},
            acme__m={"litellm_provider": "acme", "mode": "own"},
            acme__n={"litellm_provider": "acme", "mode": "own"},
            n={"litellm_provider": "acme", "mode": "bare"},
            p={"litellm_provider": "acme", "mode": "bare"},
            **{"big-co__o": {"litellm_provider": "big_co", "mode": "dash"}},
        )
        assert catalog.models() == ["acme/m", "acme/n", "acme/p", "big_co/o"]
        assert [info.mode for info in catalog.infos(catalog.models())] == ["own", "own", "bare", "dash"]

    def test_a_caller_s_list_is_the_caller_s(self, catalog):
        """What a caller does to a list, or to a model's row, changes nothing for the next one."""
        catalog.models().clear()
        catalog.model_info("gpt-4o-mini").raw_info["search_context_cost_per_query"].clear()
        assert catalog.models()
        assert catalog.model_info("gpt-4o-mini").raw_info["search_context_cost_per_query"]


class TestAsking:
    @pytest.mark.parametrize(
        ("provider", "model"),
        [
            ("openai", "gpt-4o-mini"), ("gemini", "gemini/gemini-2.5-flash"), ("vertex_ai", "gemini-2.5-flash"),
            ("amazon_nova", "amazon_nova/nova-micro-v1"), ("volcengine", "volcengine/doubao-embedding"),
        ],
    )  # fmt: skip
    def test_a_model_is_found_however_a_request_may_name_it(self, catalog, provider, model):
        """With its provider before it, beside it, both, or neither, it is the same model, under its listed name."""
        bare = model.removeprefix(f"{provider}/")
        info = catalog.model_info(model)
        assert (info.provider, info.model) == (provider, model)
        for asked in ((f"{provider}/{bare}",), (provider, bare), (provider, f"{provider}/{bare}")):
            assert catalog.model_info(*asked) == info
        assert catalog.model_info(model=model) == catalog.model_info(provider=provider, model=bare) == info

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            (("gpt4o-mini",), "'gpt4o-mini'; did you mean gpt-4o-mini"),
            (("openai", "gpt-4o-mimi"), "'gpt-4o-mimi' of openai; did you mean gpt-4o-mini"),
            (("claude-sonnet-4-5-2025",), "did you mean claude-sonnet-4-5-20250929"),
            (("opnai", "gpt-4o-mini"), "no models of the provider 'opnai'; did you mean openai"),
            (("anthropic", "gpt-4o-mini"), "no model 'gpt-4o-mini' of anthropic"),
            (("hosted_vllm/gpt-4o-mini",), "did you mean gpt-4o-mini"),
            (("together_ai/together-ai-4.1b-8b",), "no model"),
            (("sample_spec",), "no model"),
            (("",), "no model ''$"),
            ((), "takes the name of a model"),
            ((None, 5), "takes the name of a model"),
        ],
    )
    def test_what_is_not_there_is_an_error_that_helps(self, catalog, asked, said):
        """A model that the table lacks, also of that provider, is an error with the names that may be meant."""
        with pytest.raises(InvalidInputError, match=said):
            catalog.model_info(*asked)

    def test_unknown_providers_and_modes_are_errors_that_help(self, catalog):
        """A list of nothing because of a wrong word is an error with the right one."""
        with pytest.raises(InvalidInputError, match="provider 'antropic'; did you mean anthropic"):
            catalog.models("antropic")
        with pytest.raises(InvalidInputError, match="mode 'embeddings'; did you mean embedding"):
            catalog.models(mode="embeddings")

    def test_the_network_is_left_alone(self, litellm, attempts, tmp_path):
        """Every provider, model and figure comes without a connection, a login or a file, the dearest to ask too."""
        catalog = Catalog(Table())
        assert WITH_LOGIN | {"ollama", "lemonade"} <= set(catalog.providers())
        for model in catalog.models():
            catalog.model_info(model)
        with pytest.raises(InvalidInputError):
            catalog.model_info("huggingface/who/knows")
        assert attempts == []
        assert not list(tmp_path.iterdir())


class TestRegistered:
    @pytest.fixture
    def register(self, litellm, monkeypatch):
        """`litellm.register_model`, undone after the test."""
        monkeypatch.setattr(litellm, "model_cost", dict(litellm.model_cost))
        return lambda **rows: litellm.register_model(
            {key.replace("__", "/"): row for key, row in rows.items()}, persist_across_reloads=False
        )

    def test_what_the_user_registers_is_there(self, register, litellm):
        """A model that is registered after a catalog was read is in it, with its figures, and so is a new price."""
        catalog = Catalog(Table())
        assert "hosted_vllm/own" not in catalog.models()
        row = {"litellm_provider": "hosted_vllm", "mode": "chat", "max_input_tokens": 4_096}
        register(hosted_vllm__own={**row, "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6})
        assert "hosted_vllm/own" in catalog.models("hosted_vllm")
        info = catalog.model_info("hosted_vllm", "own")
        assert (info.max_input_tokens, info.input_cost_per_million, info.output_cost_per_million) == (4_096, 1, 2)
        assert price(info.model, Usage(1_000_000, 1_000_000)) == pytest.approx(3)
        register(hosted_vllm__own={"litellm_provider": "hosted_vllm", "input_cost_per_token": 5e-6})
        assert catalog.model_info("hosted_vllm/own").input_cost_per_million == 5

    def test_a_model_of_no_provider_is_anybody_s(self, register):
        """A model that was registered without a provider is found with the provider that a request would name."""
        register(my_own_model={"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6})
        catalog = Catalog(Table())
        assert catalog.model_info("hosted_vllm", "my_own_model").input_cost_per_million == 1
        with pytest.raises(InvalidInputError):
            catalog.model_info("my_own_model")
        assert "my_own_model" not in catalog.models()

    @pytest.mark.parametrize("value", ["many", "", None, math.nan, math.inf, [], {}])
    def test_what_is_no_figure_is_not_known(self, value):
        """Whatever stands in a row, what cannot be read is None, and nothing fails."""
        names = ["max_input_tokens", "max_tokens", "input_cost_per_token", "deprecation_date", "supports_vision"]
        info = acme(**dict.fromkeys([*names, "tiered_pricing", "output_vector_size"], value))
        assert info == ModelInfo("acme/m", "acme")
        assert str(info) == "acme/m (acme)"


class TestFigures:
    @pytest.mark.parametrize("provider", PRICED_BY_TOKENS)
    def test_prices_are_those_that_calls_are_booked_at(self, catalog, provider):
        """What a call of text costs by the information is what the client books for it, wherever it knows a price."""
        booked = 0
        for info in catalog.infos(catalog.models(provider)):
            cost = price(info.model, Usage(1_000, 500))
            if cost and info.mode in {"chat", "completion", "embedding", "responses"}:
                told = 1_000 * (info.input_cost_per_token or 0) + 500 * (info.output_cost_per_token or 0)
                assert told == pytest.approx(cost), info.model
                booked += 1
        assert booked > 5

    def test_sizes_are_those_that_prompts_are_cut_to(self, catalog):
        """The largest prompt is the one that the client truncates to, wherever it knows one."""
        for provider in ("anthropic", "groq", "openai"):
            for info in catalog.infos(catalog.models(provider, mode="chat")):
                assert Facts().max_input_tokens(info.model) in (None, info.max_input_tokens), info.model
        assert catalog.model_info("gpt-4o-mini").max_input_tokens == Facts().max_input_tokens("gpt-4o-mini") == 128_000

    def test_parameters_are_those_that_are_kept(self, catalog):
        """A model's parameters are those that sanitizing keeps; of what does not chat or complete none are known."""
        assert catalog.model_info("gpt-4o-mini").supported_params == Facts().facts("gpt-4o-mini", {}).supported_params
        assert catalog.model_info("text-embedding-3-small").supported_params is None

    def test_the_context_is_prompt_and_answer(self):
        """Where they share one window it is the largest prompt; where they don't, it is both together."""
        assert acme(max_input_tokens=100, max_output_tokens=20).context_window == 100
        assert acme(max_tokens=100).context_window == 100
        assert acme(max_output_tokens=20).context_window is None
        apart = made_up(acme__apart={"litellm_provider": "acme", "max_input_tokens": 100, "max_output_tokens": 20})
        assert apart.model_info("acme/apart").context_window == 120

    def test_what_is_not_known_is_none_and_free_is_free(self):
        """A figure that the table lacks is None, never 0; a 0 in it is a 0."""
        assert acme(mode="chat") == ModelInfo("acme/m", "acme", "chat")
        assert acme().input_cost_per_million is None
        assert acme(input_cost_per_token=0).input_cost_per_million == 0
        assert (acme(supports_vision=False).supports_vision, acme().supports_vision) == (False, None)

    def test_all_prices_are_read(self):
        """Cached, batch and tiered prices stand where they belong; of tiers it is the first."""
        info = acme(
            cache_read_input_token_cost=1e-6,
            cache_creation_input_token_cost=2e-6,
            input_cost_per_token_batches=3e-6,
            output_cost_per_token_batches=4e-6,
            tiered_pricing=[{"input_cost_per_token": 5e-6, "output_cost_per_token": 6e-6}, {"input_cost_per_token": 9}],
        )
        assert (info.cache_read_cost_per_token, info.cache_write_cost_per_token) == (1e-6, 2e-6)
        assert (info.batch_input_cost_per_token, info.batch_output_cost_per_token) == (3e-6, 4e-6)
        assert (info.input_cost_per_token, info.output_cost_per_token) == (5e-6, 6e-6)

    def test_a_price_per_million_has_no_dust(self):
        """The millionfold is the figure that the provider publishes."""
        assert 5e-8 * 1_000_000 != 0.05
        assert acme(input_cost_per_token=5e-8).input_cost_per_million == 0.05

    def test_a_date_is_a_date(self):
        """The day from which a model may be gone is a date."""
        assert acme(deprecation_date="2027-01-02").deprecation_date == date(2027, 1, 2)

    def test_information_is_a_value(self, catalog):
        """Two answers about one model are equal and count as one in a set."""
        assert len({catalog.model_info("gpt-4o-mini"), catalog.model_info("openai", "gpt-4o-mini")}) == 1


class TestShowing:
    def test_the_text_is_neat(self):
        """What is known is told, a line for each part; what isn't, is left out."""
        info = acme(
            mode="chat", max_input_tokens=128_000, max_output_tokens=16_384, input_cost_per_token=1.5e-7,
            output_cost_per_token=6e-7, cache_read_input_token_cost=7.5e-8, supports_vision=True,
            supports_web_search=False, supports_reasoning=True, deprecation_date="2027-01-02",
        )  # fmt: skip
        assert str(info).splitlines() == [
            "acme/m (acme, chat)",
            "  tokens      128,000 in all, 16,384 of answer",
            "  price       $0.15 in, $0.60 out, per million tokens",
            "  cached      $0.075 read, per million tokens",
            "  supports    vision, reasoning",
            "  deprecated  from 2027-01-02",
        ]

    def test_every_model_s_text_fits_a_terminal(self, catalog):
        """Whatever the table holds, a text is at most 80 columns wide, and never shows a None."""
        for info in catalog.infos(catalog.models()):
            assert max(map(len, str(info).splitlines())) <= 80
            assert "None" not in str(info)

    def test_plain_data_is_json(self, catalog):
        """All but the raw row becomes JSON, and says the same."""
        info = catalog.model_info("gpt-4o-mini")
        data = json.loads(json.dumps(info.to_dict()))
        assert data.pop("input_cost_per_million") == 0.15
        assert data.pop("output_cost_per_million") == 0.6
        assert frozenset(data.pop("supported_params")) == info.supported_params
        assert ModelInfo(**data, supported_params=info.supported_params) == info
        assert acme(deprecation_date="2027-01-02").to_dict()["deprecation_date"] == "2027-01-02"

    @pytest.mark.parametrize(
        ("amount", "text"),
        [(None, "-"), (0, "0.00"), (2.5, "2.50"), (0.0375, "0.0375"), (1_234, "1,234.00"), (0.00013, "0.00013")],
    )
    def test_prices_show_what_matters(self, amount, text):
        """A price has two digits after its point, and more where there are more."""
        assert dollars(amount) == text
