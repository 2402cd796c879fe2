"""Root file systems over nfsd: what is exported to whom, who has it mounted, and the programs beside it."""
