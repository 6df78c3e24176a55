"""HTTP: what a request looks like, and what is answered."""
