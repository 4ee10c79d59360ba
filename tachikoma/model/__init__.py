"""The nouns: names, VMs, settings, events and errors. Imports nothing of ours."""
