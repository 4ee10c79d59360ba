"""From a door to the engine and back."""
