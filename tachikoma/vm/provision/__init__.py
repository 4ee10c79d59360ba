"""What a VM needs inside before an agent can work in it: a plan (pure) and its execution."""
