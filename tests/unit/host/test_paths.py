from __future__ import annotations

import os
from pathlib import Path

import pytest

from tachikoma.host.paths import paths_from, private_dir
from tachikoma.model.errors import PermissionDeniedError

HOME = {"HOME": "/home/ada"}


def test_without_xdg_variables_everything_is_under_home() -> None:
    paths = paths_from(HOME)
    assert paths.config == Path("/home/ada/.config/tachikoma")
    assert paths.data == Path("/home/ada/.local/share/tachikoma")
    assert paths.cache == Path("/home/ada/.cache/tachikoma")
    assert paths.state_file == Path("/home/ada/.config/tachikoma/state.json")
    assert paths.locks == Path("/home/ada/.config/tachikoma/locks")
    assert paths.logs == Path("/home/ada/.config/tachikoma/logs")
    assert paths.known_hosts == Path("/home/ada/.config/tachikoma/known_hosts")
    assert paths.ssh_key == Path("/home/ada/.ssh/tachikoma")


def test_xdg_variables_move_them_but_not_the_key() -> None:
    paths = paths_from(
        {**HOME, "XDG_CONFIG_HOME": "/c", "XDG_DATA_HOME": "/d", "XDG_CACHE_HOME": "/e"}
    )
    assert (paths.config, paths.data, paths.cache) == (
        Path("/c/tachikoma"),
        Path("/d/tachikoma"),
        Path("/e/tachikoma"),
    )
    assert paths.ssh_key == Path("/home/ada/.ssh/tachikoma")


@pytest.mark.parametrize("value", ["", "relative", "~/x"])
def test_an_xdg_variable_that_is_no_whole_path_is_ignored_as_its_standard_says(
    value: str,
) -> None:
    assert paths_from({**HOME, "XDG_CONFIG_HOME": value}) == paths_from(HOME)


def test_working_them_out_makes_nothing(own_home: Path) -> None:
    paths_from({"HOME": str(own_home)})
    assert list(own_home.iterdir()) == []


def test_sockets_go_to_the_runtime_directory_of_the_user_where_it_is_short_and_there(
    own_home: Path,
) -> None:
    runtime = own_home.parent / "run"
    paths = paths_from({**HOME, "XDG_RUNTIME_DIR": str(runtime)})
    assert paths.runtime.parent == runtime
    for useless in (str(runtime / "missing"), "relative", f"/{'x' * 50}"):
        environ = {**HOME, "XDG_RUNTIME_DIR": useless}
        assert paths_from(environ).runtime.parent == Path("/tmp")
        assert paths_from({**environ, "TMPDIR": "/scratch"}).runtime.parent == Path("/scratch")


def test_two_configurations_never_share_a_runtime_directory() -> None:
    one, other = paths_from(HOME), paths_from({**HOME, "XDG_CONFIG_HOME": "/other"})
    assert one.runtime != other.runtime
    assert one.runtime == paths_from(HOME).runtime
    assert str(os.geteuid()) in one.runtime.name


def test_a_private_directory_is_made_with_its_parents_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    assert private_dir(path) == path
    assert private_dir(path) == path
    assert path.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_others_could_enter_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "open"
    path.mkdir()
    path.chmod(0o755)
    private_dir(path)
    assert path.stat().st_mode & 0o777 == 0o700


def test_what_is_no_directory_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for name in ("file", "link", "file/below"):
        with pytest.raises(PermissionDeniedError, match=name) as caught:
            private_dir(tmp_path / name)
        assert caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    path.mkdir()
    os.chown(path, 12345, 12345)
    with pytest.raises(PermissionDeniedError, match="not a directory of this user"):
        private_dir(path)
