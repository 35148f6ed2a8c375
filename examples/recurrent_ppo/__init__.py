"""A recurrent policy of stable-baselines3-contrib on fastlstm."""
