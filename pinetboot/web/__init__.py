"""HTTP: cloud-init seeds, the boot tree, the dashboard, and whether the daemon is well."""
