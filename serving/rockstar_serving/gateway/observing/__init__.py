"""What is told of requests: log lines, samples of payloads, spans, drift."""
