"""The commands about the makima daemon: running it, and looking at what it does."""
