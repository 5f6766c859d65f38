"""What each stage costs: lengths, sizes, rates, memory and work."""
