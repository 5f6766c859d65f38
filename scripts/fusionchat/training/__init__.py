"""Light fine-tuning of targets on fused distributions."""
