"""What this process may use of its machine: cores, memory, processes."""
