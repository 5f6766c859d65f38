"""How models answer the questions."""
