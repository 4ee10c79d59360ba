"""TOML layers in, frozen settings out, every value with its source."""
