"""The host and the LANs around it, as the doctor sees them: who else is there, what is closed, what is lacking."""
