"""Inside the user's process: monitor, sampler, span processor, configurator.

Stands on `opentelemetry-api`, `opentelemetry-sdk` and the standard library; loading it loads nothing of the server.
It never raises into the app and never waits for the network on the app's threads; what it drops is counted.
"""
