from __future__ import annotations

import json
from pathlib import Path

import pytest

from tachikoma.proxy.groups import Groups, hosts_of, remote_hosts


class Host(Groups):
    """A host whose tools say what ``said`` has for the first word of their command."""

    def __init__(self, at: Path, **environment: str) -> None:
        super().__init__(environment=environment, home=at / "home", root=at)
        self.said: dict[str, str] = {}

    async def _said(self, *argv: str, cwd: Path | None = None) -> str:
        return self.said.get(argv[0], "")


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("https://a.example/x", ["a.example"]),
        ("https://user:secret@a.example:8443/x", ["a.example:8443"]),
        ("http://a.example:80 http://b.example:443/", ["a.example", "b.example"]),
        ("sparse+https://a.example/index/", ["a.example"]),
        ("ssh://git@a.example:2222/x.git", ["a.example"]),
        ("https://[fd00::1]:8443/", ["[fd00::1]:8443"]),
        ("https://a.example:port/ https:/// ftp://c.example", []),
    ],
)
def test_every_url_gives_its_host_and_an_unusual_port(text: str, hosts: list[str]) -> None:
    assert list(hosts_of(text)) == hosts


def test_a_remote_is_understood_in_either_spelling() -> None:
    urls = ("git@a.example:me/x.git", "https://b.example/x", "/srv/x.git", "ssh://git@a.example/y")
    assert remote_hosts(urls) == ("b.example", "a.example")


async def test_apt_means_the_sources_that_are_not_commented_out(tmp_path: Path) -> None:
    at = tmp_path / "etc" / "apt"
    write(at / "sources.list", "deb http://a.example/d x main\n# deb http://off.example x\n")
    write(at / "sources.list.d" / "x.list", "deb [signed-by=/k] https://b.example:8443/d x main\n")
    write(at / "sources.list.d" / "y.sources", "Types: deb\nURIs: http://c.example/d\n")
    assert await Host(tmp_path).hosts("@apt") == ("a.example", "b.example:8443", "c.example")


async def test_pip_means_its_index_and_the_further_ones(tmp_path: Path) -> None:
    host = Host(tmp_path, PIP_EXTRA_INDEX_URL="https://more.example/simple")
    host.said["python3"] = "https://own-default.example/simple https://files.example\n"
    assert await host.hosts("@pip") == (
        "own-default.example",
        "files.example",
        "more.example",
    )
    write(
        tmp_path / "home" / ".config" / "pip" / "pip.conf",
        "[global]\nindex-url = https://u:p@mirror.example/simple\n",
    )
    assert (await host.hosts("@pip"))[0] == "own-default.example"
    host.forget()
    assert await host.hosts("@pip") == ("mirror.example", "more.example")


async def test_npm_and_go_are_asked(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.said["npm"] = json.dumps(
        {"registry": "https://r.example/", "@mine:registry": "https://m.example/", "cache": "x"}
    )
    host.said["go"] = json.dumps(
        {"GOPROXY": "https://p.example,direct", "GOSUMDB": "sum.example+key https://s.example"}
    )
    assert await host.hosts("@npm") == ("r.example", "m.example")
    assert await host.hosts("@go") == ("p.example", "sum.example", "s.example")
    other = Host(tmp_path)
    other.said["go"] = json.dumps({"GOPROXY": "off", "GOSUMDB": "off"})
    assert await other.hosts("@go") == ()


async def test_cargo_means_its_own_settings_and_what_it_has_used(tmp_path: Path) -> None:
    at = tmp_path / "home" / ".cargo"
    write(
        at / "registry" / "index" / "index.example-0123456789abcdef" / "config.json",
        '{"dl":"https://static.example/crates","api":"https://api.example"}',
    )
    host = Host(tmp_path)
    assert await host.hosts("@cargo") == ("static.example", "api.example", "index.example")
    write(
        at / "config.toml",
        '# https://no.example\n[source.crates-io]\nreplace-with = "m"\n'
        '[source.m]\nregistry = "sparse+https://mirror.example/index/"\n',
    )
    host.forget()
    assert await host.hosts("@cargo") == ("mirror.example",)


async def test_git_means_what_the_user_has_settings_or_a_login_for(tmp_path: Path) -> None:
    home = tmp_path / "home"
    write(home / ".git-credentials", "https://u:secret@c.example\n")
    write(home / ".config" / "gh" / "hosts.yml", "github.example:\n    user: me\n")
    write(home / ".netrc", "machine n.example login me password secret\n")
    host = Host(tmp_path)
    host.said["git"] = "url.https://a.example/.insteadof git@b.example:\n"
    assert await host.hosts("@git") == (
        "a.example",
        "c.example",
        "b.example",
        "github.example",
        "n.example",
    )


@pytest.mark.parametrize("group", ["@apt", "@pip", "@npm", "@cargo", "@go", "@git"])
async def test_a_host_without_any_of_it_means_nothing(tmp_path: Path, group: str) -> None:
    host = Host(tmp_path)
    for said in ("", "no json", "[1]"):
        host.said = dict.fromkeys(("npm", "go", "git", "python3"), said)
        host.forget()
        assert await host.hosts(group) == ()


async def test_files_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "etc" / "pip.conf", "no ini [")
    write(tmp_path / "home" / ".cargo" / "config.toml", "= https://odd.example/")
    (tmp_path / "etc" / "apt" / "sources.list").mkdir(parents=True)
    host = Host(tmp_path)
    assert await host.hosts("@pip") == ()
    assert await host.hosts("@apt") == ()
    assert await host.hosts("@cargo") == ("odd.example",)
