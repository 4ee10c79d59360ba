"""What every implementation of a port promises: one suite a port."""
