"""DELs that came when there was no agent: files that clients left, done before anyone is served."""
