"""Models from elsewhere: reading what other toolkits trained, without running anything that a file says."""
