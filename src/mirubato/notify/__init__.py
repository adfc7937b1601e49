"""One file per receiver: render (pure), then send -> delivered, retry after, or refused."""
