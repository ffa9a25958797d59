"""One folder a question: a command, its configuration and its committed results."""
