"""Everything that travels to the Hub with a saved model, as flat siblings."""
