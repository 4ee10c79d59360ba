from __future__ import annotations

from tests.unit.cli.stand import CommandLine


def test_a_key_is_made_listed_and_revoked(line: CommandLine) -> None:
    made = line("makima", "keys", "create", "ada")
    key = made.out.strip()
    assert key.startswith("mku_")
    assert "not shown again" in made.err
    daemon = line("makima", "keys", "create", "farm", "--daemon", "--json").data
    assert (daemon["kind"], daemon["key"][:4]) == ("daemon", "mkd_")
    listed = line("makima", "keys", "list", tty=True).out
    assert key not in listed
    assert [row.split()[:2] for row in listed.splitlines()[1:]] == [
        ["ada", "user"],
        ["farm", "daemon"],
    ]
    again = line("makima", "keys", "create", "ada", "--json")
    assert again.envelope["error"]["code"] == "makima.key"
    assert line("makima", "keys", "revoke", "ada").out == "ada is revoked\n"
    assert line("makima", "keys", "create", "ada").status == 0
    names = [each["name"] for each in line("makima", "keys", "list", "--json").data["keys"]]
    assert names == ["ada (revoked 1)", "farm", "ada"]


def test_a_name_is_one_that_can_be_read(line: CommandLine) -> None:
    for name in ("", " ", "a\nb", "x" * 65):
        assert line("makima", "keys", "create", name).status == 2
    assert line("makima", "keys", "revoke", "nobody").status == 1


def test_the_database_may_be_elsewhere(line: CommandLine) -> None:
    place = line.home / "other" / "x.db"
    line("makima", "keys", "create", "ada", "--db", str(place))
    assert place.stat().st_mode & 0o777 == 0o600
    assert line("makima", "keys", "list").err.startswith("there is no key")
