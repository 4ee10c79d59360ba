"""Repositories, branches and worktrees on the host."""
