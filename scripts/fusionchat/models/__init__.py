"""Source models: locked downloads, safe formats, loading."""
