"""One run on a page: sections, tables, figures, templates.

Reads run folders, writes HTML and pictures; trains nothing.
"""
