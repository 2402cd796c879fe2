"""HTTP: cloud-init seeds, the boot tree, and whether the daemon is well."""
