"""silero-vad on a Ray cluster, with the model of examples/service: requests (serve.py), a data set (data.py)."""
