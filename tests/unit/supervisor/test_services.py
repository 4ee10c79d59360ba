from __future__ import annotations

import plistlib
from dataclasses import replace
from pathlib import Path

import pytest

from tachikoma.host import process
from tachikoma.supervisor import services
from tachikoma.supervisor.services import Service, agent, kept, shown, unit

SERVICE = Service(
    argv=("/opt/t/bin/python", "-P", "-m", "tachikoma", "daemon", "start", "--dir=/home/a"),
    directory=Path("/home/a"),
    environ={"PATH": "/usr/bin"},
    secrets=Path("/home/a/.config/tachikoma/daemon.env"),
    log=Path("/home/a/.config/tachikoma/logs/daemon-start.log"),
)
ODD = replace(
    SERVICE,
    argv=("/o/py", '--name=a "b" 100% $HOME \\x'),
    directory=Path("/home/a b/50%"),
    environ={"PATH": '/a b:/c"d:/e%f:/g$h'},
)


def test_the_unit_as_systemd_reads_it() -> None:
    assert unit(SERVICE) == (
        "# Written by `tachikoma daemon install`; `tachikoma daemon uninstall` removes it.\n"
        "[Unit]\n"
        "Description=tachikoma's supervisor\n"
        "StartLimitIntervalSec=0\n"
        "\n"
        "[Service]\n"
        "Type=exec\n"
        'ExecStart="/opt/t/bin/python" "-P" "-m" "tachikoma" "daemon" "start" "--dir=/home/a"\n'
        "WorkingDirectory=/home/a\n"
        'Environment="PATH=/usr/bin"\n'
        "EnvironmentFile=-/home/a/.config/tachikoma/daemon.env\n"
        "Restart=on-failure\n"
        "RestartSec=10\n"
        "RestartPreventExitStatus=78\n"
        "KillMode=process\n"
        "TimeoutStopSec=45\n"
        "\n"
        "[Install]\n"
        "WantedBy=default.target\n"
    )


def test_words_with_a_meaning_for_systemd_are_taken_literally() -> None:
    lines = unit(ODD).splitlines()
    assert 'ExecStart="/o/py" "--name=a \\"b\\" 100%% $$HOME \\\\x"' in lines
    assert "WorkingDirectory=/home/a b/50%%" in lines
    assert 'Environment="PATH=/a b:/c\\"d:/e%%f:/g$h"' in lines


@pytest.mark.live
@pytest.mark.parametrize("service", [SERVICE, ODD], ids=["plain", "odd"])
async def test_systemd_itself_finds_nothing_wrong(service: Service, tmp_path: Path) -> None:
    if process.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    program = tmp_path / "py thon%"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    file = tmp_path / services.UNIT
    file.write_text(unit(replace(service, argv=(str(program), *service.argv[1:]))))
    done = await process.run(
        ["systemd-analyze", "verify", "--user", str(file)],
        deadline_s=15,
        env={"XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert done.stderr == b""


def test_the_agent_as_launchd_reads_it() -> None:
    found = plistlib.loads(agent(SERVICE))
    script = found["ProgramArguments"].pop(2)
    assert found == {
        "Label": "dev.tachikoma.daemon",
        "ProgramArguments": ["/bin/sh", "-c", str(SERVICE.secrets), *SERVICE.argv],
        "WorkingDirectory": "/home/a",
        "EnvironmentVariables": {"PATH": "/usr/bin"},
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": 45,
        "AbandonProcessGroup": True,
        "StandardOutPath": "/dev/null",
        "StandardErrorPath": str(SERVICE.log),
    }
    assert script.endswith('exec "$@"')


@pytest.mark.live
@pytest.mark.parametrize("text", [None, "# mine\nMY_KEY='a b'\n"])
async def test_the_agents_shell_reads_the_file_if_it_is_there(
    tmp_path: Path, text: str | None
) -> None:
    secrets = tmp_path / "daemon env"
    if text is not None:
        secrets.write_text(text)
    argv = ("printenv", "MY_KEY") if text else ("echo", "it's $HOME")
    found = plistlib.loads(agent(replace(SERVICE, secrets=secrets, argv=argv)))
    done = await process.run(found["ProgramArguments"], deadline_s=10)
    assert done.text == ("a b" if text else "it's $HOME")


def test_no_credential_is_taken_over() -> None:
    environ = {"PATH": "/bin", "ANTHROPIC_API_KEY": "x", "XDG_DATA_HOME": "", "MAKIMA_API_KEY": "y"}
    assert kept(environ) == {"PATH": "/bin"}


def test_where_the_files_are_and_what_is_told() -> None:
    home = Path("/home/a")
    assert services.unit_file(home, None) == home / ".config/systemd/user" / services.UNIT
    assert services.unit_file(home, Path("/c")) == Path("/c/systemd/user") / services.UNIT
    file = services.agent_file(home)
    assert file == home / "Library/LaunchAgents/dev.tachikoma.daemon.plist"
    assert shown(services.enable_argv()) == (
        "systemctl --user daemon-reload && systemctl --user enable --now tachikoma-daemon.service"
    )
    assert shown(services.restart_argv()) == "systemctl --user restart tachikoma-daemon.service"
    assert shown(services.disable_argv()) == (
        "systemctl --user disable --now tachikoma-daemon.service"
    )
    assert shown(services.load_argv(file, 501)) == f"launchctl bootstrap gui/501 {file}"
    assert shown(services.unload_argv(501)) == "launchctl bootout gui/501/dev.tachikoma.daemon"
