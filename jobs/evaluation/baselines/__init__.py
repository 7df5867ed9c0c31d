"""What a new way to transfer has to be better than: each baseline as strong as its idea allows, chosen on cold_val."""
