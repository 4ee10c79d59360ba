"""Keys, host keys, running commands in a VM and attaching a terminal to it."""
