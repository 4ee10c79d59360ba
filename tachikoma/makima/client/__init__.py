"""A makima server as its users reach it: which one, with which key, and calls of its API."""
