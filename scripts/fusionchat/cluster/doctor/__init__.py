"""Whether the place of a run is ready for it."""
