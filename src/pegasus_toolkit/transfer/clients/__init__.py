"""Clients: a wire each. No policy, and no knowledge of jobs: what is sent and received is for their users."""
