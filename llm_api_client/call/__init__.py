"""The call: how it goes out, and what came back means.

`litellm_door` is the only module that imports LiteLLM, `failure` reads what was raised, `judge` says what it means,
`retry` says when to try again.
"""
