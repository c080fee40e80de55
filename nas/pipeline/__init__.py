"""What a user does, from a request to a finished run folder: search, train, fine-tune, export."""
