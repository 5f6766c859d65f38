"""One reader for each kind of file that is only read: Parquet, safetensors, YAML."""
