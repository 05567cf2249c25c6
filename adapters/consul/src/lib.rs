//! Services, health and configuration from Consul.
