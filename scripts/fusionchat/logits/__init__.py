"""Top-k logits of response positions: forward pass and store."""
