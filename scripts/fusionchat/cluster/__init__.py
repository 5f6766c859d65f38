"""What a run costs, and whether its place is ready."""
