"""A client from a file: what it may say, what it may not, and what is never shown of it."""

import json
import logging
import traceback
from inspect import signature
from textwrap import dedent

import pytest

from llm_api_client import APIClient, RateLimit, RetryPolicy
from llm_api_client.api_client import config
from llm_api_client.errors import ConfigurationError
from llm_api_client.testing import ScriptedCalls

SECRET = "a-hidden-word-in-a-file"
TOML = """
    max_requests_per_minute = 500
    max_tokens_per_minute = 2e6
    max_workers = 8
    max_delay_seconds = "none"
    api_key = "${TEST_KEY}"
    base_url = "https://${TEST_HOST}/v1"
    request_timeout = 30
    checkpoint = "kept/answers.db"
    max_cost = 2.5
    allow_unpriced = true
    transport = "litellm"
    on_context_overflow = "error"
    history_limit = 100
    progress = false

    [retry]
    initial_delay = 0.5
    max_delay = 20

    [models.gpt-4o]
    requests_per_minute = 50
    tokens_per_minute = -1
    api_key = "$${TEST_KEY}"
    base_url = "https://other/v1"
    request_timeout = 90
    parameters = { temperature = 0, user = "${TEST_HOST}" }

    [models."gpt-4.1"]
    requests_per_day = 1000
"""
OPTIONS = {
    "max_requests_per_minute": 500,
    "max_tokens_per_minute": 2_000_000,
    "max_workers": 8,
    "max_delay_seconds": None,
    "api_key": SECRET,
    "base_url": "https://example.org/v1",
    "request_timeout": 30,
    "max_cost": 2.5,
    "allow_unpriced": True,
    "transport": "litellm",
    "on_context_overflow": "error",
    "history_limit": 100,
    "progress": False,
    "retry": RetryPolicy(initial_delay=0.5, max_delay=20),
    "model_limits": {"gpt-4o": RateLimit(requests_per_minute=50), "gpt-4.1": RateLimit(requests_per_day=1000)},
    "model_defaults": {
        "gpt-4o": {
            "temperature": 0,
            "user": "example.org",
            "api_key": "${TEST_KEY}",
            "base_url": "https://other/v1",
            "timeout": 90,
        }
    },
}
ENVIRONMENT = {"TEST_KEY": SECRET, "TEST_HOST": "example.org"}


@pytest.fixture
def read(tmp_path):
    """The options that a file of this text, or of this data as JSON, comes to."""

    def read(content, name="client.json", **options):
        file = tmp_path / name
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return config.options_from(file, environ=ENVIRONMENT, **options)

    return read


@pytest.fixture
def refused(read, tmp_path):
    """Why a file is refused, without its name; nothing that is shown of the error holds a secret."""

    def refused(content, name="client.json"):
        with pytest.raises(ConfigurationError) as caught:
            read(content, name)
        shown = "".join(traceback.format_exception(caught.value))
        link = caught.value
        while link is not None:
            shown += repr(vars(link))
            link = link.__cause__ or link.__context__
        assert SECRET not in shown
        beginning = f"{tmp_path / name}: "
        assert caught.value.message.startswith(beginning)
        return caught.value.message.removeprefix(beginning)

    return refused


class TestWhatAFileSays:
    def test_every_option_can_stand_in_toml(self, read, tmp_path):
        """A TOML file says all that the constructor takes, with variables and a path that begins at its folder."""
        assert read(dedent(TOML), "client.toml") == {**OPTIONS, "checkpoint": tmp_path / "kept" / "answers.db"}

    def test_json_says_the_same(self, read):
        """The same data as JSON comes to the same options; null is no limit."""
        data = {
            "max_requests_per_minute": None,
            "max_cost": -1,
            "history_limit": None,
            "progress": None,
            "models": {"m": {"tokens_per_minute": None, "requests_per_minute": "None", "requests_per_day": 5}},
        }
        assert read(data) == {
            "max_requests_per_minute": None,
            "max_cost": None,
            "history_limit": None,
            "model_limits": {"m": RateLimit(requests_per_day=5)},
        }

    def test_the_files_options_are_the_constructors(self):
        """Every option of the constructor that data can say has its place in a file, and there is no other."""
        of_code = {"self", "api_call", "clock", "model_limits", "model_defaults"}
        assert {*signature(APIClient.__init__).parameters} - of_code == config._OPTIONS.keys() - {"models"}

    def test_an_empty_file_is_a_client_with_its_defaults(self, read):
        """Nothing said is nothing changed."""
        assert read("", "client.toml") == read({}) == read({"models": {}}) == {}

    def test_a_model_without_limits_shares_the_clients(self, read):
        """Limits of its own has who names one."""
        assert read({"models": {"m": {"api_key": "k"}}}) == {"model_defaults": {"m": {"api_key": "k"}}}

    def test_an_absolute_checkpoint_stays_where_it_is(self, read, tmp_path):
        """Only relative paths begin at the file's folder."""
        path = tmp_path / "elsewhere" / "answers.db"
        assert read({"checkpoint": str(path)}) == {"checkpoint": path}

    def test_a_mark_at_the_beginning_is_no_fault(self, read):
        """Editors on Windows begin UTF-8 with a mark."""
        assert read('\ufeff{"max_workers": 3}') == {"max_workers": 3}


class TestFilesOfCustomGroqChat:
    def test_a_table_of_models_is_read(self, read, caplog):
        """Names, limits, keys and addresses are taken over; what has no meaning here is said."""
        caplog.set_level(logging.WARNING)
        model = {"base_url": "https://host", "api_key": "${TEST_KEY}", "req_per_minute": 30, "req_per_day": -1}
        model |= {"token_per_minute": 6000, "token_per_day": 250_000, "context_window": 8192}
        assert read({"llama": model, "gemma": {"req_per_minute": -1}}) == {
            "model_limits": {
                "llama": RateLimit(requests_per_minute=30, tokens_per_minute=6000, tokens_per_day=250_000),
                "gemma": RateLimit(),
            },
            "model_defaults": {"llama": {"base_url": "https://host", "api_key": SECRET}},
        }
        assert "llama.context_window is not used" in caplog.text

    def test_its_faults_are_named_by_its_own_keys(self, refused):
        """A path is the file's own: model and field."""
        assert refused({"llama": {"req_per_minute": "30"}}).startswith("llama.req_per_minute is a string; give a whole")
        assert refused({"llama": {"req_per_minute": 1, "tokens": 5}}).startswith("llama.tokens is not known")
        assert refused({"llama": {"req_per_minute": 0}}).startswith("llama: requests_per_minute must be a positive")


class TestVariables:
    def test_variables_are_replaced_in_every_string(self, read):
        """Anywhere in a string, several times, and in nested parameters; $${ stands for itself."""
        nested = {"metadata": {"at": ["${TEST_HOST}:${TEST_HOST}", "$TEST_HOST $${TEST_HOST} ${TEST_HOST}$"]}}
        options = read({"models": {"m": {"parameters": nested}}})
        assert options["model_defaults"]["m"]["metadata"]["at"] == [
            "example.org:example.org",
            "$TEST_HOST ${TEST_HOST} example.org$",
        ]

    def test_what_a_variable_holds_is_not_looked_through_again(self, read, monkeypatch):
        """A value with ${ in it is a value."""
        monkeypatch.setitem(ENVIRONMENT, "TEST_HOST", "${TEST_KEY}")
        assert read({"base_url": "${TEST_HOST}"}) == {"base_url": "${TEST_KEY}"}

    def test_the_processs_own_variables_are_taken(self, monkeypatch, tmp_path):
        """Without other word, the environment is that of the process, when the file is read."""
        file = tmp_path / "client.json"
        file.write_text('{"api_key": "${TEST_OWN_KEY}"}')
        monkeypatch.setenv("TEST_OWN_KEY", "from-outside")
        assert config.options_from(file) == {"api_key": "from-outside"}

    def test_a_variable_that_is_not_set_is_named_with_its_place(self, refused):
        """The message has the key in the file, and the variable."""
        said = refused({"models": {"gpt-4o": {"api_key": f"${{TEST_MISSING}}{SECRET}"}}})
        assert said == "models.gpt-4o.api_key names the environment variable TEST_MISSING, which is not set."
        said = refused({"models": {"m": {"parameters": {"stop": ["a", "${TEST_MISSING}"]}}}})
        assert said.startswith("models.m.parameters.stop[1] names")

    @pytest.mark.parametrize("text", ["${", "${}", "${TEST_KEY", "${TEST KEY}", "${1}", "a${:-b}"])
    def test_a_beginning_without_a_name_is_refused(self, refused, text):
        """What looks like a variable and is none is no value either."""
        assert refused({"api_key": SECRET + text}).startswith("api_key has ${ and not the name of a variable after it")


class TestFaults:
    @pytest.mark.parametrize(
        ("data", "said"),
        [
            ({"models": {"gpt-4o": {"requests_per_minute": SECRET}}},
             'models.gpt-4o.requests_per_minute is a string; give a whole number, or "none" for no limit.'),
            ({"max_workers": 2.5}, 'max_workers is a number; give a whole number, or "none" for no limit.'),
            ({"max_workers": True}, 'max_workers is true or false; give a whole number, or "none" for no limit.'),
            ({"max_cost": [1]}, 'max_cost is a list; give a number, or "none" for no limit.'),
            ({"api_key": 5}, "api_key is a number; give a string."),
            ({"api_key": ""}, "api_key is empty; give a string, or leave it out."),
            ({"progress": "yes"}, "progress is a string; give true or false."),
            ({"allow_unpriced": 1}, "allow_unpriced is a number; give true or false."),
            ({"models": ["gpt-4o"]}, "models is a list; give a table."),
            ({"models": {"gpt-4o": 5}}, "models.gpt-4o is a number; give a table."),
            ({"models": {"gpt-4o": None}}, "models.gpt-4o is null; give a table."),
            ({"retry": {"max_delay": SECRET}}, "retry.max_delay is a string; give a number."),
            ({"transport": SECRET}, "transport is none of auto, direct, litellm."),
            ({"on_context_overflow": SECRET}, "on_context_overflow is none of truncate, error, ignore."),
            ([SECRET], "it is a list; give a table of options."),
        ],
    )  # fmt: skip
    def test_a_value_of_the_wrong_kind_is_named_and_not_shown(self, refused, data, said):
        """The message has the path, what the value is, and what it should be."""
        assert refused(data) == said

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (
                {"max_request_per_minute": 5},
                "max_request_per_minute is not known; did you mean max_requests_per_minute",
            ),
            ({"models": {"m": {"request_per_minute": 5}}}, "models.m.request_per_minute is not known; did you mean "),
            ({"retry": {"tries": 5}}, "retry.tries is not known; there are initial_delay, multiplier, max_delay."),
            ({"api_call": "print"}, "api_call is not known"),
            ({"model_limits": {}}, "model_limits is not known"),
        ],
    )
    def test_an_unknown_key_is_named_with_what_may_be_meant(self, refused, data, said):
        """A misspelt key is no silent default."""
        assert refused(data).startswith(said)

    def test_a_name_with_a_dot_that_lacks_its_quotes_is_explained(self, refused):
        """TOML reads [models.gpt-4.1] as a table in a table."""
        said = refused("[models.gpt-4.1]\nrequests_per_minute = 5\n", "client.toml")
        assert said == "models.gpt-4.1 is not known; if the model is called gpt-4.1, TOML wants its name in quotes."

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            ({"models": {"m": {"requests_per_day": 0}}}, "models.m: requests_per_day must be a positive"),
            ({"models": {"m": {"request_timeout": -5}}}, "models.m.request_timeout must be a finite number above 0"),
            ({"retry": {"multiplier": 0.5}}, "retry: RetryPolicy.multiplier must be"),
        ],
    )
    def test_a_number_that_cannot_be_is_named(self, refused, data, said):
        """Limits and policies judge their own values; the path is said before what they say."""
        assert refused(data).startswith(said)

    @pytest.mark.parametrize(
        ("text", "name", "said"),
        [
            (f'{{"api_key": "{SECRET}"', "client.json", "it is not JSON: "),
            (f'api_key = "{SECRET}', "client.toml", "it is not TOML (at "),
            (f"a.{SECRET} = 1\na.{SECRET} = 2\n", "client.toml", "it is not TOML (at "),
            ("[" * 100_000, "client.json", "it is nested too deeply."),
            ("{}", "client.yaml", "it is read by its name's end, which must be .json or .toml."),
            ("{}", "client", "it is read by its name's end"),
        ],
    )
    def test_a_file_that_cannot_be_read_says_why(self, refused, text, name, said):
        """Neither the message nor what is kept with the error has any of the text."""
        assert refused(text, name).startswith(said)

    def test_bytes_that_are_no_text_and_files_that_are_not_there(self, tmp_path):
        """Both are faults of the configuration."""
        (tmp_path / "latin.json").write_bytes(b'{"api_key": "\xff"}')
        with pytest.raises(ConfigurationError, match="it is not UTF-8"):
            config.options_from(tmp_path / "latin.json")
        with pytest.raises(ConfigurationError, match="it cannot be read") as caught:
            config.options_from(tmp_path / "missing.json")
        assert isinstance(caught.value.__cause__, FileNotFoundError)


class TestFromConfig:
    def test_a_client_is_made_and_sends_what_the_file_says(self, tmp_path):
        """Key, address and timeout of the model's requests come from the file; limits do too."""
        file = tmp_path / "client.json"
        table = {"api_key": "key-of-model", "base_url": "http://model", "request_timeout": 9, "requests_per_minute": 7}
        file.write_text(json.dumps({"api_key": "key", "max_workers": 1, "models": {"m": table}}))
        calls = ScriptedCalls()
        with APIClient.from_config(file, api_call=calls) as client:
            message = [{"role": "user", "content": "x"}]
            client.make_requests([{"model": "m", "messages": message}, {"model": "n", "messages": message}])
            assert client._limits.of("m").limit == RateLimit(requests_per_minute=7)
        first, second = (call.params for call in calls.calls)
        assert (first["api_key"], first["base_url"], first["timeout"]) == ("key-of-model", "http://model", 9)
        assert (second["api_key"], second.get("base_url"), second.get("timeout")) == ("key", None, None)

    def test_overrides_win_and_spare_the_file(self, tmp_path):
        """What is given in code is not looked at in the file, not even for its variables."""
        file = tmp_path / "client.toml"
        file.write_text('api_key = "${TEST_MISSING}"\nmax_workers = 3\nmax_requests_per_minute = 5\n')
        client = APIClient.from_config(file, api_key="own", max_workers=4, api_call=ScriptedCalls())
        assert (client.max_workers, client.max_requests_per_minute) == (4, 5)

    def test_a_subclass_is_made_of_itself(self, tmp_path):
        """from_config is a constructor."""
        file = tmp_path / "client.json"
        file.write_text("{}")
        kind = type("Own", (APIClient,), {})
        assert type(kind.from_config(str(file), api_call=ScriptedCalls())) is kind

    def test_the_checkpoint_is_made_beside_the_file(self, tmp_path, monkeypatch):
        """Where the program was started does not matter."""
        monkeypatch.chdir("/")
        (tmp_path / "client.json").write_text('{"checkpoint": "answers.db"}')
        APIClient.from_config(tmp_path / "client.json", api_call=ScriptedCalls()).close()
        assert (tmp_path / "answers.db").exists()
