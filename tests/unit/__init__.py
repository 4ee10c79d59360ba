"""Tests of single modules; the tree is that of the package."""
