"""Models of other toolkits, loaded without executing code in their files."""
