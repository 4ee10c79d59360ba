"""Where a credential may have got to: what is looked through by tests with VMs."""

from __future__ import annotations

import json
import mmap
from pathlib import Path

from tests.live.conftest import User

_MEMORY = 512 << 20


def a_claude_code_that_knows_the_credential(user: User) -> list[Path]:
    """Have the credential in every file of the host of which a part goes into a VM."""
    server = {"command": "true", "args": [user.secret]}
    other = {"command": "true", "env": {"ANTHROPIC_API_KEY": user.secret, "MINE": user.secret}}
    rule = f"Bash(curl -H 'x-api-key: {user.secret}' https://api.example:*)"
    files = {
        user.home / ".claude.json": {
            "primaryApiKey": user.secret,
            "mcpServers": {"one": server, "other": other},
        },
        user.home / ".claude" / "settings.json": {
            "env": {"ANTHROPIC_API_KEY": user.secret},
            "permissions": {"allow": [rule]},
            "mcpServers": {"third": other},
        },
    }
    for path, content in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return sorted(files)


def memory_of_the_vm(user: User) -> mmap.mmap:
    """Give the whole memory of the one VM that runs: page cache, processes and all."""
    (pid,) = (pid for pid, line in user.processes().items() if "qemu-system" in line.split()[0])
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        if "/memfd:" in str(descriptor.readlink()) and descriptor.stat().st_size >= _MEMORY:
            with descriptor.open("rb") as file:
                return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    raise AssertionError("QEMU has no memory file")


def holders(user: User, text: str) -> list[str]:
    """Which processes of the user show ``text`` in their arguments or environment."""
    found = []
    for pid, line in user.processes().items():
        environ = Path(f"/proc/{pid}/environ").read_bytes()
        if text in line or text.encode() in environ:
            found.append(line)
    return found


def files_with(user: User, text: str) -> list[Path]:
    """Which files of the user hold ``text``: state, logs, disks, keys."""
    return [
        each
        for each in sorted(user.home.parent.rglob("*"))
        if each.is_file()
        and not each.is_symlink()
        and "images" not in each.parts
        and text.encode() in each.read_bytes()
    ]
