"""The life of one task: its worktree, its agent's process, its merges, its completion action."""
