//! The HTTP client that the Consul and Nomad adapters share: JSON over TCP, TLS or a Unix socket.
