"""Five published models with weights of fewer bytes: how far answers are apart, and what the models then say."""
