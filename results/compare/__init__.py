"""Compare runs: rows, output formats, and groups over seeds."""
