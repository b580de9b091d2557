"""Tables, counts and pages as text, HTML and Markdown: the one renderer of every report."""
