"""Those of the user's own things on this host that a VM may get."""
