"""The heart: what a branch's VM goes through from nothing to ready, and back."""
