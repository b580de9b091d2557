"""Pages that people read, made from cards: text for a terminal, HTML for a notebook, Markdown for the docs."""
