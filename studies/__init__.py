"""One folder per question: a command, its configuration and its committed results."""
