"""The command line. Hydra is confined to this package; torch is imported by the verbs that need it."""
