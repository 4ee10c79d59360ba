"""The relay: between a server that it obeys and daemons that obey it; it runs nothing itself."""
