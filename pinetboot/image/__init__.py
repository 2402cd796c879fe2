"""Images: what Pis boot from, brought in once."""
