"""Two published torch models on fastlstm: a voice encoder, and one that tells what is a woman's name."""
