"""From an organiser's file to a page: decoding, front matter, Markdown or saved text, pictures, plain text."""
