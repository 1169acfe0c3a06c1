"""Makes the artifact that is deployed, and deploys it."""
