from __future__ import annotations

from tachikoma.credentials.port import Credential, Finding, Kind
from tachikoma.host import process
from tachikoma.model.checks import Check
from tests.unit.cli.stand import SECRET, CommandLine


def _verdicts(line: CommandLine) -> dict[str, str]:
    checks = line("doctor", "--json").data["checks"]
    return {one["name"]: one["verdict"] for one in checks}


def test_a_machine_that_has_it_all_is_ready(line: CommandLine) -> None:
    ran = line("doctor")
    assert ran.status == 0
    assert ran.out.endswith("\nready: `tachikoma spawn` can work here\n")
    assert set(_verdicts(line).values()) == {"ok"}


def test_a_missing_program_makes_spawn_impossible(line: CommandLine) -> None:
    line.missing.add("ssh")
    ran = line("doctor")
    assert ran.status == 1
    assert "✗ ssh         the program ssh is not installed\n" in ran.out
    assert ran.out.endswith("\n1 problem to solve before `tachikoma spawn` can work\n")
    assert line("doctor", "--json").data["ready"] is False


def test_settings_that_cannot_be_read_do_not_keep_the_rest_from_being_looked_at(
    line: CommandLine,
) -> None:
    file = line.home / ".config/tachikoma/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("vm_cpus = 'many'\n")
    ran = line("doctor")
    assert ran.status == 1
    assert "✗ settings" in ran.out
    assert "✓ git" in ran.out


def test_one_cause_is_told_once(line: CommandLine) -> None:
    line.missing.add("git")
    line.fail_settings = process.missing_tool("git")
    ran = line("doctor")
    assert ran.out.count("the program git is not installed") == 1
    assert ran.out.endswith("\n1 problem to solve before `tachikoma spawn` can work\n")


def test_an_image_that_is_not_built_yet_is_only_a_warning(line: CommandLine) -> None:
    line("image", "delete", "synthetic", "--yes")
    verdicts = _verdicts(line)
    assert verdicts["image"] == "warn"
    assert line("doctor").status == 0


def test_a_vm_that_no_branch_belongs_to_is_a_warning(line: CommandLine) -> None:
    line("spawn")
    with line.store.edit() as ledger:
        ledger.vms.clear()
    told = line("doctor").out
    assert "! VMs         1 VM that no branch belongs to: tachikoma-box-main\n" in told


def test_what_the_engine_lacks_is_told_with_what_mends_it(line: CommandLine) -> None:
    line.engine_parts = [
        Check("socat", ok=False, found="missing", why="leads to the proxy", fix="install socat"),
        Check("KVM", ok=False, found="not there", why="makes VMs fast", required=False),
    ]
    told = line("doctor").out
    assert (
        "✗ socat       missing\n              it leads to the proxy\n              install socat\n"
        "! KVM         not there\n              it makes VMs fast\n"
    ) in told


def test_without_a_credential_spawn_works_and_what_fails_is_told(line: CommandLine) -> None:
    line.credential_findings = [Finding("CLAUDE_CODE_OAUTH_TOKEN", None, "is not set")]
    ran = line("doctor")
    assert "! credential  none found: 1 place looked at\n" in ran.out
    assert "`tachikoma credentials` tells what each source says" in ran.out
    assert ran.status == 0
    line.credential_findings += [Finding("credential_command", None, "printed nothing", True)]
    assert "none found: credential_command: printed nothing\n" in line("doctor").out


def test_a_source_that_fails_is_a_warning_even_if_another_has_a_credential(
    line: CommandLine,
) -> None:
    line.credential_findings.insert(0, Finding("Secret Service", None, "is locked", True))
    ran = line("doctor")
    assert "! credential  ANTHROPIC_API_KEY (api key), but Secret Service: is locked\n" in ran.out
    assert ran.status == 0


def test_a_credential_that_expires_is_told_with_the_time_that_is_left(line: CommandLine) -> None:
    token = Credential(Kind.OAUTH, SECRET, "file", line.clock.now() + 7300)
    line.credential_findings = [Finding("file", token)]
    assert "✓ credential  file (oauth), expires in 2 h\n" in line("doctor").out


def test_a_credential_is_told_by_its_source_and_never_shown(line: CommandLine) -> None:
    ran = line("doctor")
    assert "✓ credential  ANTHROPIC_API_KEY (api key)\n" in ran.out
    assert SECRET not in ran.out + ran.err + line("doctor", "--json").out


def test_a_terminal_gets_lines_that_fit_it(line: CommandLine) -> None:
    line.engine_parts = [Check("KVM", ok=False, found="word " * 30, why="it " * 40)]
    told = line("doctor", tty=True).out.splitlines()
    assert all(len(each) <= 80 for each in told)
    assert sum(each.startswith(" " * 14) for each in told) == 4


def test_a_machine_is_told_what_the_engine_can_do_and_what_each_thing_is_for(
    line: CommandLine,
) -> None:
    line.engine_parts = [Check("KVM", ok=False, found="no", why="makes VMs fast", required=False)]
    data = line("doctor", "--json").data
    assert data["features"]["build_images"] == {"available": True, "why": ""}
    (kvm,) = [check for check in data["checks"] if check["name"] == "KVM"]
    assert (kvm["verdict"], kvm["why"], kvm["hint"]) == ("warn", "makes VMs fast", "")
