from __future__ import annotations

from tachikoma.makima.variables import Given, given_by


def test_both_names_of_a_key_are_read() -> None:
    found, warnings = given_by(
        {
            "MAKIMA_DAEMON_PROCESS_MAXCONCURRENTTASKS": "8",
            "MAKIMA_DAEMON_LOCAL_DB__PATH": "/x.db",
            "MAKIMA_DAEMON_SERVER__API_KEY": "k",
            "PATH": "/bin",
        }
    )
    assert found == [
        Given("server.api_key", "k", "MAKIMA_DAEMON_SERVER__API_KEY"),
        Given("process.max_concurrent_tasks", 8, "MAKIMA_DAEMON_PROCESS_MAXCONCURRENTTASKS"),
        Given("local_db.path", "/x.db", "MAKIMA_DAEMON_LOCAL_DB__PATH"),
    ]
    assert warnings == []


def test_the_preferred_variable_wins_for_the_key_and_says_so_without_it() -> None:
    found, warnings = given_by({"MAKIMA_DAEMON_SERVER_APIKEY": "old", "MAKIMA_API_KEY": "new-one"})
    assert found == [Given("server.api_key", "new-one", "MAKIMA_API_KEY")]
    assert warnings == [
        "MAKIMA_DAEMON_SERVER_APIKEY is not applied: MAKIMA_API_KEY is set, too, and wins"
    ]


def test_an_empty_variable_counts_as_unset() -> None:
    assert given_by({"MAKIMA_API_KEY": "", "MAKIMA_DAEMON_NONSENSE": ""}) == ([], [])


def test_an_unknown_variable_is_told_with_the_nearest() -> None:
    _, warnings = given_by(
        {"MAKIMA_DAEMON_PROCESS_MAX_CONCURRENT_TASKS": "8", "MAKIMA_DAEMON_X": "1"}
    )
    meant = "MAKIMA_DAEMON_PROCESS__MAX_CONCURRENT_TASKS (process.max_concurrent_tasks)"
    assert warnings == [
        f"MAKIMA_DAEMON_PROCESS_MAX_CONCURRENT_TASKS is not applied: did you mean {meant}?",
        "MAKIMA_DAEMON_X is not applied: there is no such key",
    ]
