"""From scores to tables, figures and the page: reads what the stages left, runs no model."""
