//! Services, configuration and secrets from Kubernetes; statuses back to it.
