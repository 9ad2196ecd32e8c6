"""What a sweep's folder tells, as values, words, a spreadsheet and a page."""
