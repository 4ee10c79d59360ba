"""The credential proxy: the only process that ever holds the credential of the user."""
