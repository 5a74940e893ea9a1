"""What the user looks at."""
