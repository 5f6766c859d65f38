"""Paid calls: the endpoint, its limits, and the store of responses."""
