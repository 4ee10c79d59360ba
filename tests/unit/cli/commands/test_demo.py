from __future__ import annotations

from tachikoma.cli.commands.demo import encoded, told
from tachikoma.cli.render import Style
from tachikoma.demo.play import DemoOutcome
from tachikoma.demo.proof import Check
from tachikoma.host import files
from tests.unit.cli.stand import CommandLine

PLAIN = Style(colour=False)
HOLDS = Check("the VM is gone", holds=True, evidence=("record: gone", "answer: 401"))
FAILS = Check("no credential in the VM", holds=False, evidence=("/root/\x1b[2Jkey",))


def outcome(*checks: Check) -> DemoOutcome:
    return DemoOutcome(online=False, said="Done.\n\x1b]0;title", checks=checks)


def test_a_demo_under_way_is_not_disturbed(line: CommandLine) -> None:
    cache = line.home / ".cache" / "tachikoma"
    (cache / "demo").mkdir(parents=True)
    with files.locked(cache / "demo.lock"):
        ran = line("demo", "--json")
    assert (ran.status, ran.error["code"]) == (1, "host.failed")
    assert ran.error["message"] == "another demo of this user is under way"
    assert (cache / "demo").is_dir()


def test_a_person_is_told_what_was_said_and_each_claim_with_its_evidence() -> None:
    assert told(outcome(HOLDS, FAILS), PLAIN) == [
        "",
        "Claude Code says",
        "    Done.",
        "    \\x1b]0;title",
        "",
        "proved  the VM is gone",
        "    record: gone",
        "    answer: 401",
        "",
        "NOT SO  no credential in the VM",
        "    /root/\\x1b[2Jkey",
        "",
    ]


def test_a_machine_gets_the_same() -> None:
    assert encoded(outcome(HOLDS)) == {
        "proved": True,
        "online": False,
        "said": "Done.\n\x1b]0;title",
        "checks": [
            {"claim": "the VM is gone", "holds": True, "evidence": ["record: gone", "answer: 401"]}
        ],
    }


def test_one_claim_that_does_not_hold_leaves_nothing_proved() -> None:
    assert outcome(HOLDS).proved
    assert not outcome(HOLDS, FAILS).proved
    assert encoded(outcome(HOLDS, FAILS))["proved"] is False
