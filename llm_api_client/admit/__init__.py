"""Admission: when a request may go.

`window` and `pace` are the law, `limiter` applies it for many askers, `answers` says how long an answer to expect.
"""
