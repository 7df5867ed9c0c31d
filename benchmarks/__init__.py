"""Scripts that produce figures; each says in its first lines how to run it."""
