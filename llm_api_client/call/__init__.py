"""The call: how it goes out, and what came back means.

`sender` sends, `litellm_door` is the only module that imports LiteLLM, `failure` reads what was raised, `judge` says
what it means, `validation` whether it is what the caller asked for, and `retry` when to try again.
"""
