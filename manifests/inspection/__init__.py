"""Looking into runs and datasets: what the `shards` command shows, and its page."""
