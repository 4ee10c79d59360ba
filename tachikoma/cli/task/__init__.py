"""The commands about a makima server's tasks."""
