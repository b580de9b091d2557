"""What is asked of stores once they are there."""
