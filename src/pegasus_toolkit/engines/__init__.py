"""What runs a submit directory: this machine, or HTCondor."""
