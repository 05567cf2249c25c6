//! Services, health and configuration from Nomad.
