"""The server: one team's tasks, given to daemons, kept in one file and shown to whoever has a key.

What is decided (`course`, `planning`, `access`) is pure; `store` keeps it; `daemons` speaks with
the machines; `app` with everybody else, by the `endpoints` that are also its OpenAPI document.
"""
