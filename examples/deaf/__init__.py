"""A published voice detector that goes deaf after an hour of steady noise, and which unit of its LSTM does it."""
