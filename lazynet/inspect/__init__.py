"""What a user looks at to understand a graph: nothing here is needed to compute anything."""
