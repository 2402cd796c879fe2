"""The fleet: which Pis there are, and making it true."""
