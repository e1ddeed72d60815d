"""What the commands do, one module per subject. Imported only when the command runs, so that `--help` stays quick."""
