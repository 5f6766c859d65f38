"""Token and distribution alignment between tokenizers."""
