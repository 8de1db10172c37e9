"""What runs revisions and tasks: processes with probes, pools and autoscaling."""
