"""Tables of a run, from scores to csv, Markdown, LaTeX and HTML."""
