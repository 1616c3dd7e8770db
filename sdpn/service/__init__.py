"""Diarization as a service: jobs over HTTP, streams over a websocket."""
