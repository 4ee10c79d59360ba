"""The door for agents: typed tools over the orchestrator, spoken over standard input and output."""
