"""AlpacaEval 2: answers against a strong model's, with their length controlled for."""
