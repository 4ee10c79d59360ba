from __future__ import annotations

import contextlib
import os
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.config.load import Loaded, load
from tachikoma.model.errors import BadValueError, ConfigError, UnknownKeyError
from tachikoma.model.settings import Settings


class Place:
    """A home with a global file, and a repository with its two files."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self.global_file = self.home / ".config" / "tachikoma" / "config.toml"
        self.repository = directory / "my 'repo'"
        self.shared = self.repository / ".tachikoma.toml"
        self.local = self.repository / ".tachikoma.local.toml"
        self.global_file.parent.mkdir(parents=True)
        self.repository.mkdir()

    def load(self) -> Loaded:
        return load(global_file=self.global_file, repository=self.repository, home=self.home)


def withheld(loaded: Loaded) -> list[str]:
    return [warning for warning in loaded.warnings if " is not applied, because " in warning]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_without_files_everything_is_the_default(place: Place) -> None:
    loaded = place.load()
    assert loaded.settings == Settings()
    assert set(loaded.sources.values()) == {"default"}
    assert set(loaded.sources) == {each.name for each in fields(Settings)} - {"explicit"}
    assert loaded.warnings == ()


def test_later_files_win_key_by_key(place: Place) -> None:
    place.global_file.write_text("vm_cpus = 2\nvm_memory = 1024\nssh_port = 2222\n")
    place.shared.write_text("vm_cpus = 6\nvm_memory = 2048\n")
    place.local.write_text("vm_cpus = 8\n")
    loaded = place.load()
    assert loaded.settings == replace(
        Settings(),
        vm_cpus=8,
        vm_memory=2048,
        ssh_port=2222,
        explicit=frozenset({"vm_cpus", "vm_memory", "ssh_port"}),
    )
    named = {key: source for key, source in loaded.sources.items() if source != "default"}
    assert named == {
        "vm_cpus": str(place.local),
        "vm_memory": str(place.shared),
        "ssh_port": str(place.global_file),
    }


def test_a_later_list_takes_the_place_of_the_earlier_one(place: Place) -> None:
    place.global_file.write_text('claude_flags = ["--a", "--b"]')
    place.shared.write_text('claude_flags = ["--c"]')
    assert place.load().settings.claude_flags == ("--c",)
    place.local.write_text("claude_flags = []")
    assert place.load().settings.claude_flags == ()


def test_a_key_set_to_its_default_counts_as_set(place: Place) -> None:
    place.global_file.write_text('base_image = "ubuntu"')
    loaded = place.load()
    assert loaded.settings.explicit == {"base_image"}
    assert loaded.sources["base_image"] == str(place.global_file)


def test_outside_a_repository_only_the_global_file_is_read(place: Place) -> None:
    place.global_file.write_text("vm_cpus = 2")
    place.shared.write_text("vm_cpus = 6")
    loaded = load(global_file=place.global_file, repository=None, home=place.home)
    assert loaded.settings.vm_cpus == 2


ALL = """\
base_image = "ghcr.io/cirruslabs/ubuntu:24.04"
vm_cpus = 1
vm_memory = 512
vm_display = "gtk"
ssh_user = "_ada-1"
ssh_port = 65535
worktree_dir = "~/trees"
provision_scripts = ["setup.sh", "/opt/x.sh", "~/y.sh"]
claude_flags = ["--model", "opus"]
boot_timeout_secs = 1
prune_after_days = 1
credential_command = "pass show 'a b'"
api_key_command = "echo $KEY"
sync_gh_auth = true
share_claude_dirs = ["rules", "my_own-1"]
sync_mcp_servers = false
credential_proxy = false
credential_proxy_port = 1
credential_proxy_bind = "::1"
credential_proxy_ttl_secs = 1
hypervisor = "synthetic"
network = "open"
instant_spawn = false
strict_secrets = true
egress_allow = ["@pip", "*.example.com", "build.example:8443", "10.1.2.3", "[fd00::1]:80"]
budget_usd = 2
budget_tokens = 1000
prices = ["claude-a-* 3 15", "* 1.5 2 0.1 0.25"]
"""


def test_the_user_may_set_every_key(place: Place) -> None:
    place.global_file.write_text(ALL)
    keys = {each.name for each in fields(Settings)} - {"explicit"}
    assert place.load() == Loaded(
        settings=Settings(
            base_image="ghcr.io/cirruslabs/ubuntu:24.04",
            vm_cpus=1,
            vm_memory=512,
            vm_display="gtk",
            ssh_user="_ada-1",
            ssh_port=65535,
            worktree_dir=place.home / "trees",
            provision_scripts=(
                str(place.home / "setup.sh"),
                "/opt/x.sh",
                str(place.home / "y.sh"),
            ),
            claude_flags=("--model", "opus"),
            boot_timeout_secs=1,
            prune_after_days=1,
            credential_command="pass show 'a b'",
            api_key_command="echo $KEY",
            sync_gh_auth=True,
            share_claude_dirs=("rules", "my_own-1"),
            sync_mcp_servers=False,
            credential_proxy=False,
            credential_proxy_port=1,
            credential_proxy_bind="::1",
            credential_proxy_ttl_secs=1,
            hypervisor="synthetic",
            network="open",
            instant_spawn=False,
            strict_secrets=True,
            egress_allow=(
                "@pip",
                "*.example.com",
                "build.example:8443",
                "10.1.2.3",
                "[fd00::1]:80",
            ),
            budget_usd=2.0,
            budget_tokens=1000,
            prices=("claude-a-* 3 15", "* 1.5 2 0.1 0.25"),
            explicit=frozenset(keys),
        ),
        sources=dict.fromkeys(keys, str(place.global_file)),
        warnings=(),
    )


WITHHELD = {
    'credential_command = "cat /etc/passwd"': "run a command on this host",
    'api_key_command = "cat /etc/passwd"': "run a command on this host",
    'credential_proxy_bind = "0.0.0.0"': "open a port of this host",
    "credential_proxy = false": "your credential into the VM",
    "sync_gh_auth = true": "your GitHub login to the VM",
    'network = "open"': "open the network to the VM",
    'share_claude_dirs = ["rules", "projects"]': "more of your ~/.claude (projects)",
    'worktree_dir = "../elsewhere"': "is outside the repository",
    'worktree_dir = "/"': "is outside the repository",
    'worktree_dir = "~/trees"': "is outside the repository",
    'worktree_dir = "link"': "is outside the repository",
    'provision_scripts = ["setup.sh"]': "a script that you have not looked at",
    'provision_scripts = ["/etc/shadow"]': "a script that you have not looked at",
}


@pytest.mark.parametrize("which", ["shared", "local"])
@pytest.mark.parametrize("line", WITHHELD)
def test_a_repository_cannot_reach_the_host_or_widen_what_a_vm_gets(
    place: Place, line: str, which: str
) -> None:
    (place.repository / "link").symlink_to(place.home / ".ssh")
    file: Path = getattr(place, which)
    file.write_text(f"vm_cpus = 2\n{line}\n")
    loaded = place.load()
    key = line.partition(" ")[0]
    assert loaded.settings == replace(Settings(), vm_cpus=2, explicit=frozenset({"vm_cpus"}))
    assert loaded.sources[key] == "default"
    (warning,) = loaded.warnings
    assert warning.startswith(f"{file}: {key} is not applied, because ")
    assert warning.endswith(
        f"; set it in {place.global_file}, or run `tachikoma trust`, if that is what you want"
    )
    assert WITHHELD[line] in warning


NARROWER = {
    "credential_proxy": "true",
    "sync_gh_auth": "false",
    "sync_mcp_servers": "false",
    "network": '"proxy"',
    "share_claude_dirs": '["rules"]',
    "worktree_dir": '".trees"',
    "strict_secrets": "true",
}


@pytest.mark.parametrize("key", NARROWER)
def test_a_repository_may_narrow_what_a_vm_gets(place: Place, key: str) -> None:
    place.global_file.write_text(
        "credential_proxy = false\nsync_gh_auth = true\nnetwork = 'open'\n"
    )
    place.shared.write_text(f"{key} = {NARROWER[key]}")
    loaded = place.load()
    assert withheld(loaded) == []
    assert loaded.sources[key] == str(place.shared)


def test_a_repository_may_repeat_what_the_user_has_set(place: Place) -> None:
    place.global_file.write_text(ALL)
    place.shared.write_text(
        'credential_command = "pass show \'a b\'"\ncredential_proxy_bind = "::1"\n'
        'share_claude_dirs = ["my_own-1"]\nnetwork = "open"\nsync_gh_auth = true\n'
    )
    assert withheld(place.load()) == []


def test_a_repository_cannot_turn_on_again_what_the_user_turned_off(place: Place) -> None:
    place.global_file.write_text(
        "sync_mcp_servers = false\nshare_claude_dirs = []\nstrict_secrets = true\n"
    )
    place.shared.write_text(
        'sync_mcp_servers = true\nshare_claude_dirs = ["rules"]\nstrict_secrets = false\n'
    )
    loaded = place.load()
    assert loaded.settings.sync_mcp_servers is False
    assert loaded.settings.share_claude_dirs == ()
    assert loaded.settings.strict_secrets is True
    assert len(withheld(loaded)) == 3


def test_a_value_left_out_of_the_repository_leaves_the_users_in_place(place: Place) -> None:
    place.global_file.write_text('credential_command = "mine"')
    place.shared.write_text('credential_command = "theirs"')
    loaded = place.load()
    assert loaded.settings.credential_command == "mine"
    assert loaded.sources["credential_command"] == str(place.global_file)


def test_relative_paths_of_a_repository_start_from_it(place: Place) -> None:
    place.shared.write_text('worktree_dir = "a/../trees"\nprovision_scripts = ["x y.sh"]')
    loaded = load(
        global_file=place.global_file,
        repository=place.repository,
        home=place.home,
        trusts=lambda _file, _digest: True,
    )
    assert loaded.settings.worktree_dir == place.repository / "trees"
    assert loaded.settings.provision_scripts == (str(place.repository / "x y.sh"),)


@pytest.mark.parametrize(
    ("name", "nearest"), [("vm_cpu", "vm_cpus"), ("ssh-user", "ssh_user"), ("Network", "network")]
)
def test_an_unknown_key_is_an_error_that_names_file_key_and_the_nearest_one(
    place: Place, name: str, nearest: str
) -> None:
    place.shared.write_text(f"{name} = 1")
    with pytest.raises(UnknownKeyError) as caught:
        place.load()
    assert caught.value.message == f"{place.shared}: there is no key '{name}'"
    assert caught.value.hint == f"did you mean {nearest}?"


def test_an_unknown_key_like_no_other_points_to_the_list_of_keys(place: Place) -> None:
    place.local.write_text('"\\u001b[2Jzzz" = 1')
    with pytest.raises(UnknownKeyError, match=r"\\x1b\[2Jzzz") as caught:
        place.load()
    assert "tachikoma config" in caught.value.hint


@pytest.mark.parametrize(
    ("line", "found", "expected"),
    [
        ("vm_cpus = 0", "0", "a whole number from 1 to 1024"),
        ("vm_cpus = true", "true", "a whole number from 1 to 1024"),
        ("vm_cpus = 2.0", "2.0", "a whole number from 1 to 1024"),
        ('vm_cpus = "4"', "'4'", "a whole number from 1 to 1024"),
        ("vm_cpus = [4]", "a list 4", "a whole number from 1 to 1024"),
        ("vm_memory = 511", "511", "a whole number from 512 to 16777216"),
        ("ssh_port = 0", "0", "a whole number from 1 to 65535"),
        ("credential_proxy_port = 65536", "65536", "a whole number from 1 to 65535"),
        ("boot_timeout_secs = 0", "0", "a whole number from 1 to 86400"),
        ("credential_proxy_ttl_secs = -1", "-1", "a whole number from 1 to 86400"),
        ("prune_after_days = 1979-05-27", "date", "a whole number from 1 to 36500"),
        ("sync_gh_auth = 1", "1", "true or false"),
        ('credential_proxy = "yes"', "'yes'", "true or false"),
        ('base_image = ""', "''", "the name of an image"),
        ('base_image = "../../x"', "'../../x'", "the name of an image"),
        ('base_image = "a/../b"', "'a/../b'", "the name of an image"),
        ('vm_display = "vnc=0.0.0.0:0"', "'vnc=0.0.0.0:0'", "a word"),
        ('ssh_user = "Ada"', "'Ada'", "a POSIX user name"),
        ('ssh_user = "-oProxyCommand=x"', "'-oProxyCommand=x'", "a POSIX user name"),
        (f'ssh_user = "{"a" * 33}"', f"'{'a' * 33}'", "a POSIX user name"),
        (
            'share_claude_dirs = ["rules", "../.."]',
            "a list 'rules' '../..'",
            "a list, each entry a directory name of letters, digits, _ and -",
        ),
        (
            'share_claude_dirs = "rules"',
            "'rules'",
            "a list, each entry a directory name of letters, digits, _ and -",
        ),
        (
            'claude_flags = ["a\\u0000b"]',
            "a list 'a\\x00b'",
            "a list, each entry a text without NUL",
        ),
        (
            "provision_scripts = [1]",
            "a list 1",
            'a list, each entry a path ("~/" is your home directory)',
        ),
        ('worktree_dir = "~bob/x"', "'~bob/x'", 'a path ("~/" is your home directory)'),
        ('worktree_dir = ""', "''", 'a path ("~/" is your home directory)'),
        ('credential_command = ""', "''", "a shell command on one line"),
        ('credential_proxy_bind = "localhost"', "'localhost'", "an IP address"),
        ("credential_proxy_bind = 2130706433", "2130706433", "an IP address"),
        ('hypervisor = "vmware"', "'vmware'", 'one of "auto", "qemu", "tart", "synthetic"'),
        ('network = "none"', "'none'", 'one of "proxy", "open"'),
        ("network.mode = 1", "a table", 'one of "proxy", "open"'),
    ],
)
def test_a_bad_value_is_an_error_that_names_file_key_found_and_expected(
    place: Place, line: str, found: str, expected: str
) -> None:
    place.global_file.write_text(line)
    key = line.partition(" ")[0].partition(".")[0]
    with pytest.raises(BadValueError) as caught:
        place.load()
    assert (
        caught.value.message == f"{place.global_file}: {key} is {found}, and should be {expected}"
    )
    assert caught.value.hint


def test_a_bad_value_is_an_error_also_where_it_would_not_be_applied(place: Place) -> None:
    place.shared.write_text("credential_command = 7")
    with pytest.raises(BadValueError, match="credential_command is 7"):
        place.load()


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"vm_cpus = 4\nvm_memory = \n", 2),
        (b"vm_cpus = 4\nvm_cpus = 5\n", 2),
        (b"\n\nhello\n", 3),
        (b"vm_cpus = 4\nssh_user = '\xff'\n", 2),
        (b"vm_cpus = " + b"9" * 5000, 1),
        (b"vm_cpus = " + b"[" * 50_000, 1),
    ],
    ids=["no value", "twice", "no TOML", "no UTF-8", "too long", "too deep"],
)
def test_what_is_no_toml_is_an_error_with_file_and_line(
    place: Place, raw: bytes, line: int
) -> None:
    place.shared.write_bytes(raw)
    with pytest.raises(ConfigError) as caught:
        place.load()
    assert caught.value.message.startswith(f"{place.shared}, line {line}: ")
    assert caught.value.hint


def test_a_file_that_is_none_is_an_error(place: Place) -> None:
    place.shared.mkdir()
    with pytest.raises(ConfigError, match="cannot be read: it is no ordinary file"):
        place.load()


def test_a_pipe_in_the_place_of_a_file_does_not_block(place: Place) -> None:
    os.mkfifo(place.local)
    with pytest.raises(ConfigError, match="cannot be read: it is no ordinary file"):
        place.load()


def test_a_loop_of_links_is_an_error(place: Place) -> None:
    place.shared.symlink_to(place.shared)
    with pytest.raises(ConfigError, match="cannot be read: Too many levels"):
        place.load()


def test_a_huge_file_is_not_read(place: Place) -> None:
    place.shared.write_text("# " + "x" * (1 << 20))
    with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
        place.load()


@given(raw=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode()))
def test_whatever_a_file_holds_it_loads_or_is_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    place = tmp_path_factory.getbasetemp() / "fuzz"
    place.mkdir(exist_ok=True)
    (place / ".tachikoma.toml").write_bytes(raw)
    with contextlib.suppress(ConfigError):
        loaded = load(global_file=place / "none", repository=place, home=place)
        assert loaded.settings.credential_command is None


NUMBERS = st.dictionaries(
    st.sampled_from(["vm_cpus", "vm_memory", "ssh_port", "boot_timeout_secs"]),
    st.integers(512, 1024),
)
NETWORKS = st.sampled_from([None, "proxy", "open"])


@given(
    numbers=st.tuples(NUMBERS, NUMBERS, NUMBERS),
    networks=st.tuples(NETWORKS, NETWORKS, NETWORKS),
    trusted=st.booleans(),
)
def test_later_files_win_key_by_key_and_a_repository_widens_nothing_without_trust(
    tmp_path_factory: pytest.TempPathFactory,
    numbers: tuple[dict[str, int], ...],
    networks: tuple[str | None, ...],
    trusted: bool,
) -> None:
    base = tmp_path_factory.getbasetemp() / "layers"
    base.mkdir(exist_ok=True)
    files = [base / "global", base / ".tachikoma.toml", base / ".tachikoma.local.toml"]
    for file, values, network in zip(files, numbers, networks, strict=True):
        lines = [f"{key} = {value}\n" for key, value in values.items()]
        file.write_text("".join(lines) + (f'network = "{network}"\n' if network else ""))
    loaded = load(
        global_file=files[0], repository=base, home=base, trusts=lambda _file, _digest: trusted
    )
    for key in ("vm_cpus", "vm_memory", "ssh_port", "boot_timeout_secs"):
        last = [index for index in range(3) if key in numbers[index]][-1:]
        wanted = numbers[last[0]][key] if last else getattr(Settings(), key)
        assert getattr(loaded.settings, key) == wanted
        assert loaded.sources[key] == (str(files[last[0]]) if last else "default")
    own = networks[0]
    allowed = [own] + [each for each in networks[1:] if trusted or each in ("proxy", own)]
    assert loaded.settings.network == next((each for each in reversed(allowed) if each), None)
    assert (withheld(loaded) == []) == (trusted or "open" not in networks[1:] or own == "open")
