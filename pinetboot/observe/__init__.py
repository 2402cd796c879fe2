"""What is known and told about each machine from what the servers saw of it."""
