"""Where the user's Anthropic credential comes from, first match wins."""
