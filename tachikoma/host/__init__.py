"""This machine: processes, files, paths, clock, tasks and environment."""
