from __future__ import annotations

import ast
from uuid import UUID

from tachikoma.makima.tasks.program import holder_argv, holder_text

TASK = UUID("550e8400-e29b-41d4-a716-446655440000")


def test_the_program_is_one_text_for_an_old_python_and_needs_nothing_of_ours() -> None:
    tree = ast.parse(holder_text(), feature_version=(3, 9))
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (getattr(node, "module", None) or "", *(each.name for each in node.names))
    }
    assert not any(name.startswith("tachikoma") for name in imported)
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert len(names) == len(set(names))


def test_the_command_line_is_short_and_says_whose_holder_it_is() -> None:
    argv = holder_argv(["/usr/bin/python3"], root="~/.makima/agents", task=TASK)
    assert argv[:4] == ["/usr/bin/python3", "-I", "-S", "-c"]
    assert argv[5:] == [str(len(holder_text())), "~/.makima/agents", str(TASK)]
    assert sum(map(len, argv)) < 500
