"""The report of runs as an HTML file, and its charts as PNG files."""
