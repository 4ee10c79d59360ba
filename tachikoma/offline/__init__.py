"""A scripted stand-in for the Anthropic messages API, for the demo and the tests."""
