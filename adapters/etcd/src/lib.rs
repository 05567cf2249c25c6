//! Services, leased endpoints and configuration from etcd.
