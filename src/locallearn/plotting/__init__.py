"""Charts, as files and as pieces of pages."""
