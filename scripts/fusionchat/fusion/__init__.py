"""The fusion function: which distribution teaches."""
