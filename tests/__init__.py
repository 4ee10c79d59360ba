"""The tests: unit (mirrors the package), contract (one suite a port), flows, live."""
