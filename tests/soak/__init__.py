"""Tests that take long and are run by hand: `make soak`."""
