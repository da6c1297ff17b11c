"""A folder of films as a corpus: videos with their sound, and nothing else known of them."""
