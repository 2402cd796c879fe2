"""The boot tree: which file a name means, and what is generated for a machine."""
