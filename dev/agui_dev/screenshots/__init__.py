"""Pictures of the dashboard for the documentation, of real rollouts on this machine."""
