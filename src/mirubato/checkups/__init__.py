"""What keeps a gateway from working, looked for by `mirubato doctor` and by the page: each finding with its fix."""
