"""From what a source has of a clip (files, text, times) to records: shared by all builders of media files."""
