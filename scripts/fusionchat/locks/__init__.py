"""Locks: of what one run at a time may write."""
