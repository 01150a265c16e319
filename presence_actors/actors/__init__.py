"""Places and restarts, on Ray. The only folder that imports it."""
