"""A streaming service around a StreamPool, voice activity of live audio; README.md says what each file is for."""
