from __future__ import annotations

import pytest

from tachikoma.hypervisor.qemu.images_sources import apt_options, debian_mirrors, os_release

ONE_LINE = """\
# deb http://mirror.example/debian bookworm main
deb http://mirror.example/debian bookworm main contrib # ours
deb [signed-by=/etc/k.gpg arch=amd64] https://mirror.example/debian-security/ bookworm-security main
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/debian bookworm-backports main
"""
DEB822 = """\
Types: deb deb-src
# a remark
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
 contrib
Signed-By: /usr/share/keyrings/debian.gpg

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""
STRANGERS = """\
deb https://tools.example/php bookworm main
deb https://tools.example/linux/debian bookworm stable
deb https://tools.example/debian bookworm-tools main
deb https://tools.example/debian nodistro main
"""


def test_sources_of_one_line_each_are_taken() -> None:
    assert debian_mirrors([ONE_LINE], host_suite="bookworm", suite="bookworm") == (
        "deb http://mirror.example/debian bookworm main\n"
        "deb [signed-by=/etc/k.gpg arch=amd64] https://mirror.example/debian-security/"
        " bookworm-security main\n"
    )


def test_sources_in_stanzas_are_taken_unless_disabled() -> None:
    signed = "[signed-by=/usr/share/keyrings/debian.gpg]"
    assert debian_mirrors([DEB822], host_suite="bookworm", suite="bookworm") == (
        f"deb {signed} http://mirror.example/debian bookworm main\n"
        f"deb {signed} http://mirror.example/debian bookworm-updates main\n"
    )


def test_third_party_repositories_are_left_out() -> None:
    assert debian_mirrors([STRANGERS], host_suite="bookworm", suite="bookworm") == ""
    both = debian_mirrors([STRANGERS, ONE_LINE], host_suite="bookworm", suite="bookworm")
    assert both == debian_mirrors([ONE_LINE], host_suite="bookworm", suite="bookworm")


@pytest.mark.parametrize("suite", ["trixie", "stable"])
def test_a_newer_host_gives_its_mirrors_for_the_suite_of_the_image(suite: str) -> None:
    text = f"deb http://mirror.example/debian {suite} main\n"
    assert debian_mirrors([text], host_suite="trixie", suite="bookworm") == (
        "deb http://mirror.example/debian bookworm main\n"
    )


def test_updates_alone_are_no_mirror() -> None:
    text = "deb http://mirror.example/debian-security bookworm-security main\n"
    assert debian_mirrors([text], host_suite="bookworm", suite="bookworm") == ""


def test_only_how_mirrors_are_reached_is_taken_from_apt() -> None:
    dump = """\
APT::Install-Recommends "1";
Acquire::Languages "none";
Acquire::http::Proxy "http://proxy.example:3142";
Acquire::https::CaInfo "/etc/ca.pem";
Acquire::Retries "3";
DPkg::Post-Invoke:: "rm -rf /";
"""
    assert apt_options(dump) == (
        'Acquire::http::Proxy "http://proxy.example:3142";\n'
        'Acquire::https::CaInfo "/etc/ca.pem";\n'
        'Acquire::Retries "3";\n'
    )


def test_os_release_is_read_with_and_without_quotes() -> None:
    assert os_release('ID=debian\nVERSION_CODENAME="bookworm"\n\nnothing\n') == {
        "ID": "debian",
        "VERSION_CODENAME": "bookworm",
    }
