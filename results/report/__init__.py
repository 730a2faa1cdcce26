"""The report of runs as one HTML file, and its charts as pictures."""
