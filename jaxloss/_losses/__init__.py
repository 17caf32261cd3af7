"""The public losses, one family per file."""
